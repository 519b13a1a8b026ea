"""What is added up outside of the runtime, per class in float64: memory does not grow with the number of images."""

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxprune.calibration.points import Point
from onnxprune.calibration.shrinkage import Spread
from onnxprune.calibration.thinning import MOST_COUNTED
from onnxprune.errors import InputError
from onnxprune.values.axes import FloatArray, IntArray

Array = NDArray[Any]

BINS = 256

FIRST_IMAGES = 32
"""Images whose mean covariances are gathered about."""

_TOGETHER = 1 << 15
"""Values that are counted at once: few enough to stay in the cache."""


class Accumulator(Protocol):
    """Adds up a probe's outputs over batches."""

    def add(self, value: Array, labels: IntArray) -> None:
        """Take the probe's output [images, rows of an image, ...] of one batch and the class of each image."""

    def result(self, samples: IntArray) -> FloatArray:
        """Return the statistic, mostly [classes, channels]; `samples` [classes] is the number of images seen."""

    @property
    def clipped(self) -> tuple[int, int]:
        """How many elements lay outside the range, of how many."""


class ClassSums:
    """Sums of a per-image, per-channel number by class; the result is the mean over the class's images."""

    def __init__(self, point: Point, classes: int) -> None:
        self._sums = np.zeros((classes, point.channels))

    def add(self, value: Array, labels: IntArray) -> None:
        """Add [images, rows, channels]; the mean of an image's rows counts."""
        self.add_images(value.mean(axis=1, dtype=np.float64), labels)

    def add_images(self, value: FloatArray, labels: IntArray) -> None:
        """Add one number for each image and channel, [images, channels]."""
        for label, image in zip(labels, value, strict=True):
            self._sums[label] += image

    def result(self, samples: IntArray) -> FloatArray:
        """Return the means; zero for a class without images."""
        return self._sums / np.maximum(samples, 1)[:, None]

    @property
    def clipped(self) -> tuple[int, int]:
        """Nothing is binned here."""
        return (0, 0)


class PositionSums:
    """Sums by class at each of some positions; the result is [classes, channels, positions]."""

    def __init__(self, point: Point, classes: int) -> None:
        self._shape = (classes, point.channels)
        self._sums: FloatArray | None = None

    def add(self, value: Array, labels: IntArray) -> None:
        """Add [images, rows, channels, positions]; the rows of an image are further positions."""
        images, rows, channels, positions = value.shape
        if self._sums is None:
            self._sums = np.zeros((*self._shape, rows * positions))
        for label, image in zip(labels, value.transpose(0, 2, 1, 3).reshape(images, channels, -1), strict=True):
            self._sums[label] += image

    def result(self, samples: IntArray) -> FloatArray:
        """Return the sums."""
        return np.zeros((*self._shape, 1)) if self._sums is None else self._sums

    @property
    def clipped(self) -> tuple[int, int]:
        """Nothing is binned here."""
        return (0, 0)


class SquareSums(PositionSums):
    """Sums by class over images and rows; the result is [classes, channels]."""

    def add(self, value: Array, labels: IntArray) -> None:
        """Add [images, rows, channels], sums over positions already."""
        super().add(value.sum(axis=1, dtype=np.float64)[:, None, :, None], labels)

    def result(self, samples: IntArray) -> FloatArray:
        """Return the sums of squares."""
        return super().result(samples)[:, :, 0]


class Covariances:
    """Covariance of the channels at sampled positions, about the mean of each class.

    The result is [channels, channels], drawn towards the variances by how far it scatters from image to image, see
    `shrinkage`.
    """

    def __init__(self, point: Point, classes: int) -> None:
        channels = point.channels
        self._sums, self._rows = np.zeros((classes, channels)), np.zeros(classes)
        self._products = np.zeros((channels, channels))
        self._spread = Spread(1)
        self._origin = np.zeros(0)
        self._pending: list[tuple[FloatArray, IntArray]] = []

    def add(self, value: Array, labels: IntArray) -> None:
        """Add [images, rows, channels, positions]."""
        images, _, channels, _ = value.shape
        self._pending.append((value.transpose(0, 1, 3, 2).reshape(images, -1, channels).astype(np.float64), labels))
        if self._origin.size or sum(len(x) for x, _ in self._pending) >= FIRST_IMAGES:
            self._take()

    def _take(self) -> None:
        """Add what is pending, about the mean of the first images, near which no digits are lost."""
        if not self._origin.size and self._pending:
            first = np.concatenate([x for x, _ in self._pending])[:FIRST_IMAGES]
            self._origin = first.mean(axis=(0, 1))
        for x, labels in self._pending:
            about = x - self._origin
            flat = about.reshape(-1, about.shape[2])
            self._products += flat.T @ flat
            np.add.at(self._sums, labels, about.sum(axis=1))
            np.add.at(self._rows, labels, about.shape[1])
            self._spread.add(about[None])
        self._pending = []

    def result(self, samples: IntArray) -> FloatArray:
        """Return the covariance, of all rows of all classes together."""
        self._take()
        rows = max(1.0, self._rows.sum())
        means = self._sums / np.sqrt(np.maximum(self._rows, 1.0))[:, None]
        within = (self._products - means.T @ means) / rows
        kept = 1 - self._spread.share((self._products / rows)[None])
        return np.asarray(within * kept + np.diag(np.diag(within) * (1 - kept)))

    @property
    def clipped(self) -> tuple[int, int]:
        """Nothing is binned here."""
        return (0, 0)


class MostClasses:
    """Weighted sums over all images by channel and position; the result [1, channels] is their maximum."""

    def __init__(self, point: Point, classes: int) -> None:
        self._rows, self._channels = point.rows, point.channels
        self._sums: FloatArray | None = None

    def add(self, value: Array, labels: IntArray) -> None:
        """Add [rows of an image * channels * positions] of a whole call, weighted already.

        Raises:
            InputError: the maps have another size than those before.
        """
        if self._sums is None:
            self._sums = np.zeros(value.shape)
        if self._sums.shape != value.shape:
            raise InputError(
                "Counting by position needs feature maps of one size; resize the samples to one size.", "data-mismatch"
            )
        self._sums += value

    def result(self, samples: IntArray) -> FloatArray:
        """Return the maximum over positions."""
        if self._sums is None:
            return np.zeros((1, self._channels))
        most: FloatArray = self._sums.reshape(self._rows, self._channels, -1).max(axis=(0, 2))
        return most[None]

    @property
    def clipped(self) -> tuple[int, int]:
        """Nothing is binned here."""
        return (0, 0)


class MapEntropies:
    """Sums by class of the entropy (in nats) of the histogram of each image's map."""

    def __init__(self, point: Point, classes: int) -> None:
        self._bins = bins_for(point.positions)
        self._sums = ClassSums(point, classes)
        self._clipped = [0, 0]

    def add(self, value: Array, labels: IntArray) -> None:
        """Add bin numbers [images, rows, channels, ...]; all rows of an image make one histogram."""
        images, rows, channels = value.shape[:3]
        maps = value.reshape(images, rows, channels, -1).transpose(0, 2, 1, 3).reshape(images * channels, -1)
        together = max(1, _TOGETHER // maps.shape[1])
        found = [self._entropies(maps[start : start + together]) for start in range(0, len(maps), together)]
        self._clipped[1] += value.size
        self._sums.add_images(np.concatenate(found).reshape(images, channels), labels)

    def _entropies(self, maps: Array) -> FloatArray:
        """Return the entropies of a few maps [maps, positions] of bin numbers."""
        if maps.max() >= self._bins:
            maps = np.minimum(maps, self._bins - 1)
        numbers = np.add(maps, np.arange(len(maps))[:, None] * self._bins)
        counts = np.bincount(numbers.ravel(), minlength=len(maps) * self._bins).reshape(len(maps), self._bins)
        self._clipped[0] += int(counts[:, 0].sum() + counts[:, -1].sum())
        return histogram_entropy(counts, maps.shape[1])

    def result(self, samples: IntArray) -> FloatArray:
        """Return the mean entropies."""
        return self._sums.result(samples)

    @property
    def clipped(self) -> tuple[int, int]:
        """Elements in the two outermost bins, which lie outside the range, and all elements."""
        return (self._clipped[0], self._clipped[1])


class MeanHistograms:
    """Histograms by class of each channel's spatial mean, over the class's images."""

    def __init__(self, point: Point, classes: int) -> None:
        self._counts = np.zeros((classes, point.channels, BINS), dtype=np.int64)

    def add(self, value: Array, labels: IntArray) -> None:
        """Add bin numbers [images, rows, channels]; every row counts."""
        channels = np.arange(value.shape[2])
        np.add.at(self._counts, (labels[:, None, None], channels, value.astype(np.int64)), 1)

    def result(self, samples: IntArray) -> FloatArray:
        """Return the entropies of the histograms."""
        return histogram_entropy(self._counts, self._counts.sum(axis=-1))

    @property
    def clipped(self) -> tuple[int, int]:
        """Means outside the range, and all means."""
        return (int(self._counts[..., 0].sum() + self._counts[..., -1].sum()), int(self._counts.sum()))


def histogram_entropy(counts: NDArray[np.int64], total: NDArray[np.int64] | int) -> FloatArray:
    """Return -sum p log p over the last axis (nats) of counts that sum up to `total`; 0 where that is 0."""
    # With n_i counts of n: H = log n - sum n_i log n_i / n.
    total = np.maximum(total, 1)
    together = _counts_times_log(int(total.max())).take(counts, mode="clip")  # clip spares the check of every index
    return np.asarray(np.maximum(0.0, np.log(total) - together @ np.ones(counts.shape[-1]) / total))


@lru_cache(maxsize=8)
def _counts_times_log(most: int) -> FloatArray:
    numbers = np.arange(most + 1)
    return np.asarray(numbers * np.log(np.maximum(numbers, 1)), dtype=np.float64)


def bins_for(positions: int) -> int:
    """Return how many bins a map of `positions` elements gets: 8 to `MOST_COUNTED`, the outer two for outliers."""
    return min(MOST_COUNTED, max(8, positions))
