"""Samples in memory as training takes them: images as decoded pixels, which are augmented and scaled on the device."""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnxprune.data import Dataset
from onnxprune.data.dataset import Rows
from onnxprune.data.image_input import ImageInput
from onnxprune.errors import InputError
from onnxprune.finetune.training.augment import Augment
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.progress import Track, silent

IN_MEMORY = 2 * 2**30
"""Bytes of samples that are held in memory; more are mapped from a temporary file."""

PIXELS = "pixels"
"""The array of images; a model that takes images has one input."""

BLOCK = 256
"""Samples that are decoded at a time."""


@dataclass(frozen=True, eq=False)
class DecodedSamples:
    """Every sample of a data set, decoded once.

    Attributes:
        arrays: by input, [samples, ...]: uint8 pixels [samples, height, width, channels] where `scaling` is given, else
            what is fed.
        labels: [samples], or None.
        scaling: how pixels become what is fed.
    """

    arrays: Mapping[str, NDArray[Any]]
    labels: Rows | None
    scaling: "Scaling | None" = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def batch(self, rows: Rows, device: torch.device) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Return the samples `rows` on a device: pixels as floats [n, channels, height, width], not scaled yet."""
        labels = None if self.labels is None else torch.from_numpy(self.labels[rows]).to(device)
        found = {name: torch.from_numpy(array[rows]).to(device) for name, array in self.arrays.items()}
        if self.scaling is not None:
            found = {name: value.permute(0, 3, 1, 2).float() for name, value in found.items()}
        return found, labels

    def feeds(
        self, arrays: Mapping[str, torch.Tensor], names: Sequence[str], augment: Augment | None = None
    ) -> list[torch.Tensor]:
        """Return what a model takes, its inputs in order, of what `batch` returned."""
        if self.scaling is None:
            return [arrays[name] for name in names]
        ((_, pixels),) = arrays.items()
        return [self.scaling(pixels if augment is None else augment(pixels))]


@dataclass(frozen=True, eq=False)
class Scaling:
    """From pixels, floats [n, channels, height, width], to what an image input is fed, as `to_feed` does it."""

    target: ImageInput
    preprocess: Preprocess

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return [n, channels, height, width], or [n, height, width, channels] where the model wants that."""
        target, preprocess = self.target, self.preprocess
        if target.spec.dtype == "uint8":
            values = pixels.round().to(torch.uint8)
        else:
            mean, std = (
                torch.tensor(value, dtype=torch.float32, device=pixels.device).reshape(1, -1, 1, 1)
                for value in preprocess.statistics(target.channels)
            )
            values = ((pixels * preprocess.scale - mean) / std).to(getattr(torch, target.spec.dtype))
        if preprocess.channel_order == "bgr" and target.channels >= 3:
            values = values[:, [2, 1, 0, *range(3, target.channels)]]
        return values.permute(0, 2, 3, 1).contiguous() if target.channels_last else values


def decoded(dataset: Dataset, track: Track = silent) -> DecodedSamples:
    """Read every sample of a data set once.

    Raises:
        InputError: a file cannot be read any more, or samples are whole calls that cannot share a batch.
    """
    if dataset.reader.one_by_one:
        raise InputError(
            f"{dataset.source} are whole calls, which cannot share a batch; store samples along axis 0 of every input.",
            "data-mismatch",
        )
    reader = dataset.reader
    arrays: dict[str, NDArray[Any]] = {}
    for block in track(_blocks(len(dataset)), total=len(dataset), what="decoding"):
        rows = dataset.rows[block.start : block.stop]
        pixels = reader.decoded(rows)
        for name, value in (reader.feeds(rows) if pixels is None else {PIXELS: pixels}).items():
            if name not in arrays:
                arrays[name] = _room((len(dataset), *value.shape[1:]), value.dtype)
            arrays[name][block.start : block.stop] = value
    scaling = None if reader.target is None else Scaling(reader.target, reader.preprocess)
    return DecodedSamples(arrays, dataset.labels, scaling)


def _blocks(total: int) -> Iterator[range]:
    for start in range(0, total, BLOCK):
        yield range(start, min(start + BLOCK, total))


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an empty array, mapped from a file without a name where it is large."""
    if math.prod(shape) * dtype.itemsize <= IN_MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="onnxprune-") as file:
        return np.memmap(file, dtype=dtype, shape=shape, mode="w+")


def shuffled(total: int, batch: int, seed: int, epoch: int) -> list[Rows]:
    """Return the rows of each step of an epoch: every row once, in batches of sizes that differ by one at most.

    The same seed and epoch give the same order in every process.
    """
    order = np.random.default_rng((seed, epoch)).permutation(total)
    return list(np.array_split(order, math.ceil(total / batch)))


def in_order(total: int, batch: int) -> list[Rows]:
    """Return the rows of each step of a validation."""
    return list(np.array_split(np.arange(total), max(1, math.ceil(total / batch))))
