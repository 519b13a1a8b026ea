"""Samples from an .npz file: pixels to preprocess, or arrays that are fed as they are.

`x` and optional `y` and `class_names`, or one array per model input under the input's name. Arrays are only
ever loaded as numbers: nothing is unpickled.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.dataset import Rows
from onnxprune.data.decode import fit
from onnxprune.data.image_input import ImageInput, Pixels, image_input, to_feed
from onnxprune.errors import InputError
from onnxprune.values.array_file import ArrayFileError, ObjectsError, read_array_file
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import Preprocess


@dataclass(frozen=True)
class PixelArray:
    """The `Reader` of uint8 pixels.

    Attributes:
        pixels: As stored, in any of the layouts that `images_last` sorts out.
        target: The model's input.
        preprocess: How the images are fitted and normalised.
        name: What messages call the array.
    """

    pixels: NDArray[np.uint8]
    target: ImageInput
    preprocess: Preprocess
    name: str
    preprocessed: bool = False
    one_by_one: bool = False

    def feeds(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The images of `rows` as the model takes them."""
        return {self.target.spec.name: to_feed(self.decoded(rows), self.target, self.preprocess)}

    def decoded(self, rows: Rows) -> Pixels:
        """The images of `rows`, fitted."""
        images = images_last(self.pixels[rows], self.target, self.name)
        if self.preprocess.resize is None and self.preprocess.crop is None:
            return images
        return np.stack([fit(image, self.preprocess, f"each image of {self.name}") for image in images])

    def with_preprocess(self, preprocess: Preprocess) -> "PixelArray":
        """The same pixels, otherwise preprocessed."""
        return open_pixels(self.pixels, self.target.spec, preprocess, self.name)

    def contents(self, rows: Rows) -> Iterator[bytes]:
        """Shape and bytes of each image."""
        for row in rows:
            yield repr(self.pixels.shape[1:]).encode()
            yield self.pixels[row].tobytes()


@dataclass(frozen=True)
class Arrays:
    """The `Reader` of arrays that are fed as they are.

    Attributes:
        arrays: By input name; axis 0 is the samples.
        shared: By input name; the same for every sample (scalar inputs).
        one_by_one: True when axis 0 was added to stack whole feeds.
        preprocess: Kept for `Dataset.preprocess`; it has no effect.
    """

    arrays: Mapping[str, NDArray[Any]]
    shared: Mapping[str, NDArray[Any]]
    one_by_one: bool
    preprocess: Preprocess
    preprocessed: bool = True
    target: None = None

    def feeds(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The rows of each array."""
        picked = rows[0] if self.one_by_one else rows
        return {name: array[picked] for name, array in self.arrays.items()} | dict(self.shared)

    def decoded(self, rows: Rows) -> None:
        """Nothing: arrays are no images."""

    def with_preprocess(self, preprocess: Preprocess) -> "Arrays":
        """The same arrays."""
        return replace(self, preprocess=preprocess)

    def contents(self, rows: Rows) -> Iterator[bytes]:
        """Name, dtype, shape and bytes of each sample's arrays."""
        for name, array in sorted(self.shared.items()):
            yield f"{name} {array.dtype}".encode() + array.tobytes()
        for name, array in sorted(self.arrays.items()):
            yield f"{name} {array.dtype} {array.shape[1:]}".encode()
            for row in rows:
                yield array[row].tobytes()


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Load every array of an .npz file; a single array (.npy) is `x`.

    Raises:
        InputError: not an .npz file, damaged, or with arrays of Python objects.
    """
    try:
        found = read_array_file(path)
    except ObjectsError as error:
        raise InputError(
            f"'{path}' holds an array of Python objects, which is never loaded because it can run code: "
            "save plain numbers (and class_names as strings)",
            "bad-data",
        ) from error
    except (OSError, ArrayFileError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"'{path}' is not a readable {path.suffix} file ({reason}): write it with numpy.savez", "unreadable-file"
        ) from error
    return dict(found) if isinstance(found, Mapping) else {"x": found}


def open_pixels(pixels: NDArray[np.uint8], spec: TensorSpec, preprocess: Preprocess, name: str) -> PixelArray:
    """Check that uint8 images fit the model, on the first of them.

    Raises:
        InputError: wrong rank, channels or size.
    """
    target = image_input((spec,), preprocess)
    preprocess.statistics(target.channels)
    first = fit(images_last(pixels[:1], target, name)[0], preprocess, f"each image of {name}")
    target.check_size(first.shape[0], first.shape[1], f"each image of {name}")
    return PixelArray(pixels, target, preprocess, name)


def images_last(pixels: NDArray[np.uint8], target: ImageInput, name: str) -> Pixels:
    """Bring NHW, NCHW or NHWC into (n, height, width, channels); in doubt the layout is the model's.

    Raises:
        InputError: the rank or the number of channels does not fit.
    """
    if pixels.ndim == 3 and target.channels == 1:
        return pixels[..., None]
    if pixels.ndim == 4:
        last, first = (pixels.shape[axis] == target.channels for axis in (3, 1))
        if last and (target.channels_last or not first):
            return pixels
        if first:
            return pixels.transpose(0, 2, 3, 1)
    raise InputError(
        f"{name} has shape {list(pixels.shape[1:])} per image, but input '{target.spec.name}' takes "
        f"{target.channels} channel(s): store (n, height, width, {target.channels}) or "
        f"(n, {target.channels}, height, width)",
        "data-mismatch",
    )


def open_arrays(
    arrays: Mapping[str, NDArray[Any]], inputs: Sequence[TensorSpec], preprocess: Preprocess, where: str
) -> tuple[Arrays, int]:
    """Check that arrays fit the model's inputs and find the axis of the samples.

    Either axis 0 of every array is the samples and stands for the input's own axis 0, or every array has one
    axis more than its input, in front: then each sample is a whole call (for recurrent state, for instance).
    An array for a scalar input may be a scalar: it is shared by all samples.

    Returns:
        The reader and the number of samples.

    Raises:
        InputError: a wrong dtype, rank, shape or number of samples.
    """
    cast = {spec.name: _cast(arrays[spec.name], spec, where) for spec in inputs}
    shared = {spec.name: cast[spec.name] for spec in inputs if not spec.shape and not cast[spec.name].ndim}
    rest = [spec for spec in inputs if spec.name not in shared]
    stacked = bool(rest) and all(cast[spec.name].ndim == len(spec.shape) + 1 for spec in rest)
    for spec in rest:
        _check_shape(cast[spec.name].shape, spec, where, stacked=stacked)
    lengths = {spec.name: len(cast[spec.name]) for spec in rest}
    if len(set(lengths.values())) != 1:
        counts = ", ".join(f"'{name}' {length}" for name, length in lengths.items()) or "none"
        raise InputError(
            f"the arrays of {where} differ in their number of samples along axis 0 ({counts}): give each "
            "as many, or stack whole feeds along a new first axis",
            "bad-data",
        )
    samples = {spec.name: cast[spec.name] for spec in rest}
    return Arrays(samples, shared, stacked, preprocess), next(iter(lengths.values()))


def _cast(array: NDArray[Any], spec: TensorSpec, where: str) -> NDArray[Any]:
    try:
        wanted = np.dtype(spec.dtype)
    except TypeError as error:
        raise InputError(
            f"input '{spec.name}' has type {spec.dtype}, which numpy has no arrays of", "unsupported-model"
        ) from error
    if array.dtype.kind != wanted.kind and not {array.dtype.kind, wanted.kind} <= set("iu"):
        advice = {"f": "store floats that are already preprocessed", "V": "export the model in float32"}.get(
            wanted.kind, f"store {wanted}"
        )
        raise InputError(f"array '{spec.name}' of {where} has type {array.dtype}: {advice}", "data-mismatch")
    if wanted.kind in "iu" and array.size:
        limits = np.iinfo(wanted)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise InputError(
                f"array '{spec.name}' of {where} has values that do not fit {wanted}: store {wanted}", "data-mismatch"
            )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"array '{spec.name}' of {where} holds NaN or infinity: remove those samples", "bad-data")
    return array.astype(wanted, copy=False)


def _check_shape(shape: tuple[int, ...], spec: TensorSpec, where: str, *, stacked: bool) -> None:
    wanted = spec.shape if stacked else spec.shape[1:]
    given = shape[1:]
    fits = len(given) == len(wanted) and len(shape) > 0
    if fits and all(dim in (None, size) for dim, size in zip(wanted, given, strict=True)):
        return
    per_sample = ", ".join("?" if dim is None else str(dim) for dim in spec.shape[1:])
    raise InputError(
        f"array '{spec.name}' of {where} has shape {list(shape)}, but input '{spec.name}' takes "
        f"[n, {per_sample}]: store one row of [{per_sample}] per sample",
        "data-mismatch",
    )
