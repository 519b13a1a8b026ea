"""The statistics that can be gathered: what is reduced inside the graph, and what is added up outside, per class.

Each probe yields one number per image and channel (or, for histograms, bin numbers as bytes); accumulators add these up
per class in float64, so memory does not grow with the number of images. A new statistic is a new entry in `PROBES`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.calibration.instrument import Probe
from onnxprune.calibration.points import Point
from onnxprune.errors import InputError
from onnxprune.graph.scales import scale_of
from onnxprune.values.axes import FloatArray, IntArray

Array = NDArray[Any]
Range = tuple[float, float]

BINS = 256

POSITIONS = 32
"""Most positions of a map at which its values are looked at one by one."""

SAMPLE_WEIGHT = "onnxprune_probe/sample_weight"
"""An input of the instrumented model, [samples]: 1 / (images of the sample's class)."""


class Accumulator(Protocol):
    """Adds up a probe's outputs over batches."""

    def add(self, value: Array, labels: IntArray) -> None:
        """Take the probe's output [images, rows of an image, ...] of one batch and the class of each image."""

    def result(self, samples: IntArray) -> FloatArray:
        """Return the statistic [classes, channels]; `samples` [classes] is the number of images seen."""

    @property
    def clipped(self) -> tuple[int, int]:
        """How many elements lay outside the range, of how many."""


@dataclass(frozen=True)
class Statistic:
    """How a statistic is probed and accumulated.

    Attributes:
        probe: appends what reduces a point's feature maps; returns the name of the result.
        accumulate: makes the accumulator of a point for so many classes.
        ranged: names what needs a value range first, if anything does.
        whole: whether the result is of a whole call, weighted by `SAMPLE_WEIGHT` inside, and has no row per image.
    """

    probe: Callable[[Probe, Point, Range | None], str]
    accumulate: Callable[[Point, int], Accumulator]
    ranged: Callable[[Probe, Point], str] | None = None
    whole: bool = False


class ClassSums:
    """Sums of a per-image, per-channel number by class; the result is the mean over the class's images."""

    def __init__(self, point: Point, classes: int) -> None:
        self._sums = np.zeros((classes, point.channels))

    def add(self, value: Array, labels: IntArray) -> None:
        """Add [images, rows, channels]; the mean of an image's rows counts."""
        self.add_images(value.mean(axis=1, dtype=np.float64), labels)

    def add_images(self, value: FloatArray, labels: IntArray) -> None:
        """Add one number for each image and channel, [images, channels]."""
        np.add.at(self._sums, labels, value)

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
        self._sums = np.zeros((classes, point.channels, sampled_positions(point).size * point.rows))

    def add(self, value: Array, labels: IntArray) -> None:
        """Add [images, rows, channels, positions]; the rows of an image are further positions."""
        images, _, channels, _ = value.shape
        flat = value.astype(np.float64).transpose(0, 2, 1, 3).reshape(images, -1)
        mine = np.equal.outer(np.arange(len(self._sums)), labels).astype(np.float64)
        self._sums += (mine @ flat).reshape(len(mine), channels, -1)

    def result(self, samples: IntArray) -> FloatArray:
        """Return the sums."""
        return self._sums

    @property
    def clipped(self) -> tuple[int, int]:
        """Nothing is binned here."""
        return (0, 0)


class MeanSums(PositionSums):
    """Sums by class of the means of an image's rows over all positions; the result is [classes, channels, rows]."""

    def __init__(self, point: Point, classes: int) -> None:
        self._sums = np.zeros((classes, point.channels, point.rows))


class SquareSums(PositionSums):
    """Sums of squares by class over images and positions; the result is [classes, channels]."""

    def __init__(self, point: Point, classes: int) -> None:
        self._sums = np.zeros((classes, point.channels, 1))

    def add(self, value: Array, labels: IntArray) -> None:
        """Add [images, rows, channels, positions]."""
        squares = np.square(value, dtype=np.float64).sum(axis=(1, 3))
        super().add(squares[:, None, :, None], labels)

    def result(self, samples: IntArray) -> FloatArray:
        """Return the sums of squares."""
        return self._sums[:, :, 0]


class MostClasses:
    """Weighted sums over all images by channel and position; the result [1, channels] is their maximum."""

    def __init__(self, point: Point, classes: int) -> None:
        self._channels = point.channels
        self._sums: FloatArray | None = None

    def add(self, value: Array, labels: IntArray) -> None:
        """Add [rows, channels, positions] of a whole call, weighted already.

        Raises:
            InputError: the maps have another size than those before.
        """
        if self._sums is None:
            self._sums = np.zeros(value.shape)
        if self._sums.shape != value.shape:
            raise InputError("Counting by position needs feature maps of one size; resize the samples to one size.")
        self._sums += value

    def result(self, samples: IntArray) -> FloatArray:
        """Return the maximum over positions."""
        return np.zeros((1, self._channels)) if self._sums is None else self._sums.max(axis=(0, 2))[None]

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
        """Add bin numbers [images, rows, channels, positions]; all rows of an image make one histogram."""
        value = value.transpose(0, 2, 1, 3)
        images, channels, _, _ = value.shape
        counts = np.empty((images, channels, self._bins), dtype=np.int64)
        offsets = np.arange(channels, dtype=np.int32)[:, None] * self._bins
        for image in range(images):
            bins = np.minimum(value[image], self._bins - 1).astype(np.int32) + offsets[..., None]
            found = np.bincount(bins.ravel(), minlength=channels * self._bins)
            counts[image] = found.reshape(channels, self._bins)
        self._clipped[0] += int(counts[..., 0].sum() + counts[..., -1].sum())
        self._clipped[1] += value.size
        self._sums.add_images(histogram_entropy(counts), labels)

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
        return histogram_entropy(self._counts)

    @property
    def clipped(self) -> tuple[int, int]:
        """Means outside the range, and all means."""
        return (int(self._counts[..., 0].sum() + self._counts[..., -1].sum()), int(self._counts.sum()))


def histogram_entropy(counts: NDArray[np.int64]) -> FloatArray:
    """Return -sum p log p over the last axis (nats); an empty histogram has entropy 0."""
    total = counts.sum(axis=-1)
    # With n_i counts of n: H = log n - sum n_i log n_i / n, which needs no division per bin.
    weighted = (counts * np.log(np.maximum(counts, 1))).sum(axis=-1)
    safe = np.maximum(total, 1)
    return np.asarray(np.maximum(0.0, np.log(safe) - weighted / safe))


def bins_for(positions: int) -> int:
    """Return how many bins a map of `positions` elements gets: 256, fewer for tiny maps, the outer two for outliers."""
    return min(BINS, max(8, positions))


def _spatial(point: Point) -> list[int]:
    return [axis for axis in range(point.rank) if axis not in (0, point.axis)]


def _channels_first(probe: Probe, point: Point, tensor: str) -> str:
    """Return `tensor` as [images, channels, positions]."""
    order = [0, point.axis, *_spatial(point)]
    if order != sorted(order):
        tensor = probe.add("Transpose", [tensor], perm=order)
    shape = probe.constant(np.asarray([0, point.channels, -1], dtype=np.int64))
    return probe.add("Reshape", [tensor, shape])


def _as_float(probe: Probe, point: Point) -> str:
    return _floats(probe, point.tensor)


def _floats(probe: Probe, tensor: str) -> str:
    """Return a tensor as float32; quantized integers as the numbers that they stand for."""
    kind = probe.graph.facts.types[0][tensor].tensor_type.elem_type
    if kind == onnx.TensorProto.FLOAT:
        return tensor
    floats = probe.add("Cast", [tensor], to=onnx.TensorProto.FLOAT)
    scale = scale_of(probe.graph, tensor)
    if scale is None or not scale.is_integer:
        return floats
    if scale.zero:
        floats = probe.add("Sub", [floats, probe.add("Cast", [scale.zero], to=onnx.TensorProto.FLOAT)])
    return probe.add("Mul", [floats, probe.add("Cast", [scale.scale], to=onnx.TensorProto.FLOAT)])


def _binned(probe: Probe, tensor: str, limits: Range, bins: int) -> str:
    """Append the bin number of every element as a byte.

    Bin 0 and the last bin take what lies outside the range; the others are centred on equal steps from the lowest value
    to the highest, so that an exact zero (most of a ReLU's output) falls in the middle of a bin.
    """
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    step = (high - low) / (bins - 3) or 1.0
    zero = 1 + round(-low / step)
    if probe.opset >= 10:
        scale = probe.constant(np.asarray(step, dtype=np.float32))
        return probe.add("QuantizeLinear", [tensor, scale, probe.constant(np.asarray(zero, dtype=np.uint8))])
    scaled = probe.add("Div", [tensor, probe.constant(np.asarray([step], dtype=np.float32))])
    shifted = probe.add("Add", [scaled, probe.constant(np.asarray([zero + 0.5], dtype=np.float32))])
    within = probe.add("Clip", [shifted], min=0.0, max=255.0)
    return probe.add("Cast", [within], to=onnx.TensorProto.UINT8)


def _mean(probe: Probe, point: Point) -> str:
    return probe.reduce("ReduceMean", _as_float(probe, point), _spatial(point))


def _map_bins(probe: Probe, point: Point, limits: Range | None) -> str:
    binned = _binned(probe, _as_float(probe, point), limits or (0.0, 1.0), bins_for(point.positions))
    return _channels_first(probe, point, binned)


def _mean_bins(probe: Probe, point: Point, limits: Range | None) -> str:
    return _binned(probe, _mean(probe, point), limits or (0.0, 1.0), BINS)


def _zeros(probe: Probe, point: Point, limits: Range | None) -> str:
    """Append the share of exact zeros: 1 - mean of (|x| > 0)."""
    magnitude = probe.add("Abs", [_as_float(probe, point)])
    active = probe.add("Greater", [magnitude, probe.constant(np.asarray([0], dtype=np.float32))])
    share = probe.reduce("ReduceMean", probe.add("Cast", [active], to=onnx.TensorProto.FLOAT), _spatial(point))
    return probe.add("Sub", [probe.constant(np.asarray([1], dtype=np.float32)), share])


def _active(probe: Probe, point: Point, limits: Range | None) -> str:
    return probe.add("Sub", [probe.constant(np.asarray([1], dtype=np.float32)), _zeros(probe, point, limits)])


def sampled_positions(point: Point) -> IntArray:
    """Return which positions of a row's map are looked at: all, or some drawn at random, always the same ones."""
    there = point.positions // point.rows
    if there <= POSITIONS:
        return np.arange(there, dtype=np.int64)
    seed = int.from_bytes(hashlib.blake2b(point.layer.encode(), digest_size=4).digest())
    return np.sort(np.random.default_rng(seed).choice(there, POSITIONS, replace=False)).astype(np.int64)


def _sampled(probe: Probe, point: Point, limits: Range | None) -> str:
    """Append [rows, channels, sampled positions]."""
    tensor = _channels_first(probe, point, _as_float(probe, point))
    chosen, there = sampled_positions(point), point.positions // point.rows
    if not _free_maps(probe, point):
        return tensor if len(chosen) == there else probe.add("Gather", [tensor, probe.constant(chosen)], axis=2)
    # Maps of another size than the nominal one are looked at in the same places of the picture.
    size = probe.add("Gather", [probe.add("Shape", [tensor]), probe.constant(np.asarray([2], dtype=np.int64))])
    scaled = probe.add("Mul", [probe.constant(chosen), size])
    places = probe.add("Div", [scaled, probe.constant(np.asarray([there], dtype=np.int64))])
    return probe.add("Gather", [tensor, places], axis=2)


def _free_maps(probe: Probe, point: Point) -> bool:
    """Whether the size of a map depends on that of the sample."""
    first, second = (shapes[point.tensor] for shapes in probe.graph.facts.shapes)
    return any(first[axis] != second[axis] for axis in _spatial(point))


def _mean_column(probe: Probe, point: Point, limits: Range | None) -> str:
    """Append the spatial mean as [rows, channels, 1]."""
    shape = probe.constant(np.asarray([0, point.channels, 1], dtype=np.int64))
    return probe.add("Reshape", [_mean(probe, point), shape])


def _wins(probe: Probe, point: Point, limits: Range | None) -> str:
    """Append for each row of a sample, channel and position the weighted number of samples that are active there.

    Where a MaxPool follows directly, only the positions that win their window count.
    """
    tensor = _floats(probe, point.activity)
    if point.pool is not None and probe.opset >= 11:
        attributes = {name: value for name, value in point.pool.attrs.items() if name != "storage_order"}
        pooled, places = probe.add_two("MaxPool", [tensor], **attributes)
        same = {name: attributes[name] for name in ("kernel_shape", "strides", "pads") if name in attributes}
        tensor = probe.add("MaxUnpool", [pooled, places, probe.add("Shape", [tensor])], **same)
    zero = probe.constant(np.asarray([0], dtype=np.float32))
    active = probe.add("Cast", [probe.add("Greater", [tensor, zero])], to=onnx.TensorProto.FLOAT)
    maps = _channels_first(probe, point, active)
    if point.rows > 1:
        together = np.asarray([-1, point.rows * point.channels, 0], dtype=np.int64)
        maps = probe.add("Reshape", [maps, probe.constant(together)])
    summed = probe.add("MatMul", [SAMPLE_WEIGHT, probe.add("Flatten", [maps], axis=1)])
    shape = probe.constant(np.asarray([point.rows, point.channels, -1], dtype=np.int64))
    return probe.add("Reshape", [summed, shape])


def _magnitude(probe: Probe, point: Point, limits: Range | None) -> str:
    return probe.reduce("ReduceMean", probe.add("Abs", [_as_float(probe, point)]), _spatial(point))


PROBES: Mapping[str, Statistic] = {
    "map entropy": Statistic(_map_bins, MapEntropies, _as_float),
    "gap entropy": Statistic(_mean_bins, MeanHistograms, _mean),
    "zeros": Statistic(_zeros, ClassSums),
    "mean magnitude": Statistic(_magnitude, ClassSums),
    "active share": Statistic(_active, ClassSums),
    "position sums": Statistic(_sampled, PositionSums),
    "squares": Statistic(_sampled, SquareSums),
    "mean sums": Statistic(_mean_column, MeanSums),
    "mean squares": Statistic(_mean_column, SquareSums),
    "class wins": Statistic(_wins, MostClasses, whole=True),
}
"""Statistics by the name under which methods ask for them."""

# What makes no sense for a kind of layer is not measured there.
SKIPPED: Mapping[str, frozenset[str]] = {
    "map": frozenset({"zeros"}),
    "vector": frozenset({"map entropy", "gap entropy"}),
}
