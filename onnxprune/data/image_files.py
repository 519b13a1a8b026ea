"""Image files as samples: decoded once when the set is opened, kept in memory up to a limit.

Decoding everything at the start finds every damaged file and every odd size before the work begins, so that
later passes cannot lose samples. What does not fit in the limit is decoded again in each pass.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.dataset import Rows
from onnxprune.data.decode import CorruptImageError, Decoded, decode
from onnxprune.data.image_input import ImageInput, Pixels, image_input, to_feed
from onnxprune.errors import InputError
from onnxprune.values.interface import TensorSpec
from onnxprune.values.ordinary_file import read_ordinary
from onnxprune.values.preprocess import Preprocess

CACHE_BYTES = 256 * 2**20
"""Decoded images kept in memory per opened set."""

MAX_CORRUPT = 0.05
"""Share of files that may fail to decode before the set is refused."""

_BLOCK = 16  # images in flight at a time: bounds memory where images are large


@dataclass(frozen=True)
class ImageFiles:
    """The `Reader` of image files, all of one size once fitted.

    Attributes:
        folder: What `files` are relative to.
        files: One sample each; every one has been decoded before.
        target: The model's input.
        preprocess: How the images are fitted and normalised.
        cache: The first images, fitted, shape (m, height, width, channels), m <= len(files); read-only.
        cache_bytes: The limit that `cache` was filled under.
        converted: How many of the files had their channels converted, by what was done.
    """

    folder: Path
    files: tuple[str, ...]
    target: ImageInput
    preprocess: Preprocess
    cache: Pixels
    cache_bytes: int
    preprocessed: bool = False
    one_by_one: bool = False
    converted: Mapping[str, int] = field(default_factory=dict)

    def feeds(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The images of `rows` as the model takes them."""
        return {self.target.spec.name: to_feed(self.decoded(rows), self.target, self.preprocess)}

    def decoded(self, rows: Rows) -> Pixels:
        """The images of `rows`, fitted, out of memory where they are held there."""
        if (rows < len(self.cache)).all():
            return self.cache[rows]
        pixels = np.empty((len(rows), *self.cache.shape[1:]), dtype=np.uint8)
        late = rows >= len(self.cache)
        pixels[~late] = self.cache[rows[~late]]
        files = [self.files[row] for row in rows[late]]
        for place, image in zip(np.flatnonzero(late), self._decode(files), strict=True):
            if isinstance(image, CorruptImageError) or image.pixels.shape != pixels.shape[1:]:
                raise self._changed()
            pixels[place] = image.pixels
        return pixels

    def with_preprocess(self, preprocess: Preprocess) -> "ImageFiles":
        """The same files; they are decoded again only if their fitted size or channels change."""
        target = image_input((self.target.spec,), preprocess)
        _check(target, preprocess)
        changed = replace(self, target=target, preprocess=preprocess)
        if _geometry(target, preprocess) == _geometry(self.target, self.preprocess):
            return changed
        opened, bad = open_files(self.folder, self.files, self.target.spec, preprocess, self.cache_bytes)
        if bad:
            raise self._changed()
        return opened

    def contents(self, rows: Rows) -> Iterator[bytes]:
        """Name and bytes of each file."""
        for row in rows:
            yield self.files[row].encode()
            try:
                yield read_ordinary(self.folder / self.files[row])
            except OSError as error:
                raise self._changed() from error

    def _changed(self) -> InputError:
        return InputError(f"an image under '{self.folder}' changed while it was in use: run again", "bad-data")

    def _decode(self, files: list[str]) -> Iterator[Decoded | CorruptImageError]:
        return _decode_all(self.folder, files, self.target, self.preprocess)


def open_files(
    folder: Path,
    files: tuple[str, ...],
    spec: TensorSpec,
    preprocess: Preprocess,
    cache_bytes: int = CACHE_BYTES,
) -> tuple[ImageFiles, dict[int, str]]:
    """Decode every file once.

    Returns:
        The reader of the files that can be decoded, and the reason by position in `files` for the others.

    Raises:
        InputError: the model does not take images; images of different or wrong size; too many
            damaged files.
    """
    target = image_input((spec,), preprocess)
    _check(target, preprocess)
    bad: dict[int, str] = {}
    cache: Pixels | None = None
    first, good = "", 0
    converted: dict[str, int] = {}
    for place, found in enumerate(_decode_all(folder, files, target, preprocess)):
        if isinstance(found, CorruptImageError):
            bad[place] = str(found)
            continue
        image = found.pixels
        if found.conversion is not None:
            converted[found.conversion] = converted.get(found.conversion, 0) + 1
        where = f"image '{folder / files[place]}'"
        target.check_size(image.shape[0], image.shape[1], where)
        if cache is None:
            room = min(len(files) - place, cache_bytes // max(1, image.nbytes))
            cache, first = np.empty((room, *image.shape), dtype=np.uint8), files[place]
        elif image.shape != cache.shape[1:]:
            height, width = cache.shape[1:3]
            raise InputError(
                f"{where} is {image.shape[0]} x {image.shape[1]} (height x width) but '{first}' is "
                f"{height} x {width}: pass --resize HEIGHT,WIDTH to give all images one size",
                "data-mismatch",
            )
        if good < len(cache):
            cache[good] = image
        good += 1
    _refuse_damage(folder, files, bad)
    assert cache is not None
    cache = cache[:good]
    cache.flags.writeable = False
    kept = tuple(file for place, file in enumerate(files) if place not in bad)
    return ImageFiles(folder, kept, target, preprocess, cache, cache_bytes, converted=converted), bad


def _refuse_damage(folder: Path, files: tuple[str, ...], bad: dict[int, str]) -> None:
    if len(bad) > MAX_CORRUPT * len(files) or len(bad) == len(files):
        place, reason = next(iter(bad.items()))
        raise InputError(
            f"{len(bad)} of the {len(files)} images under '{folder}' cannot be decoded, first "
            f"'{files[place]}' ({reason}): repair or remove them",
            "bad-data",
        )


def _decode_all(
    folder: Path, files: tuple[str, ...] | list[str], target: ImageInput, preprocess: Preprocess
) -> Iterator[Decoded | CorruptImageError]:
    """Decode in order, a few files at a time in parallel; a failure is yielded, not raised."""

    def one(file: str) -> Decoded | CorruptImageError:
        try:
            return decode(folder / file, target.channels, preprocess)
        except CorruptImageError as error:
            return error

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), _BLOCK):
            yield from pool.map(one, files[start : start + _BLOCK])


def _geometry(target: ImageInput, preprocess: Preprocess) -> tuple[object, ...]:
    return target.channels, target.height, target.width, preprocess.resize, preprocess.crop


def _check(target: ImageInput, preprocess: Preprocess) -> None:
    """Refuse a mean or std that does not fit before any work is done."""
    preprocess.statistics(target.channels)
