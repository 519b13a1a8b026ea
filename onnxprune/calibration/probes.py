"""The statistics that can be gathered: what is reduced inside the graph, and what is added up outside, per class.

Each probe yields one number per image and channel (or, for histograms, bin numbers as bytes); accumulators add these up
per class in float64, so memory does not grow with the number of images. A new statistic is a new entry in `PROBES`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.calibration.accumulators import (
    BINS,
    Accumulator,
    ClassSums,
    Covariances,
    MapEntropies,
    MeanHistograms,
    MostClasses,
    PositionSums,
    SquareSums,
    bins_for,
)
from onnxprune.calibration.instrument import Probe
from onnxprune.calibration.points import Point
from onnxprune.calibration.thinning import MOST_COUNTED, MOST_POSITIONS, steps
from onnxprune.graph.activation_scales import scale_of
from onnxprune.graph.model import Graph
from onnxprune.values.axes import IntArray
from onnxprune.values.statistics import COVARIANCES, MEAN_COVARIANCES, VECTOR_COVARIANCES

Array = NDArray[Any]
Range = tuple[float, float]

POSITIONS = 32
"""Most positions of a map at which its values are looked at one by one."""

STEEPEST = 3e38
"""Slope of a hard sigmoid that is 0 up to 0 and 1 above, which the runtime computes where its convolutions left x."""

SAMPLE_WEIGHT = "onnxprune_probe/sample_weight"
"""An input of the instrumented model, [samples]: 1 / (images of the sample's class)."""


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


def _spatial(point: Point) -> list[int]:
    return [axis for axis in range(point.rank) if axis not in (0, point.axis)]


def _channels_first(probe: Probe, point: Point, tensor: str) -> str:
    """Return `tensor` as [images, channels, positions]."""
    order = [0, point.axis, *_spatial(point)]
    if order != sorted(order):
        tensor = probe.add("Transpose", [tensor], perm=order)
    shape = probe.constant(np.asarray([0, point.channels, -1], dtype=np.int64))
    return probe.add("Reshape", [tensor, shape])


def _planar(point: Point) -> bool:
    """Whether channels lie before one to three spatial axes: pooling then takes maps as convolutions left them."""
    return point.axis == 1 and 3 <= point.rank <= 5


def _space(probe: Probe, point: Point) -> tuple[int, ...]:
    shape = probe.graph.facts.shapes[0][point.tensor]
    return tuple(shape[axis] for axis in _spatial(point))


def _thinned(probe: Probe, point: Point, tensor: str, most: int) -> str:
    """Append the map with so many positions fewer that at most `most` are left, where maps have their nominal size."""
    space = _space(probe, point)
    step = steps(space, most)
    if set(step) <= {1}:
        return tensor
    if _planar(point):
        return probe.add("MaxPool", [tensor], kernel_shape=[1] * len(step), strides=list(step))
    if probe.opset >= 10:
        return probe.every(tensor, _spatial(point), step)
    for axis, size, one in zip(_spatial(point), space, step, strict=True):  # a Slice has no steps yet
        tensor = probe.add("Gather", [tensor, probe.constant(np.arange(0, size, one))], axis=axis)
    return tensor


def _map(probe: Probe, point: Point, most: int = MOST_POSITIONS) -> str:
    """Append the map, thinned if it is large."""
    return _thinned(probe, point, _as_float(probe, point), most)


def _counted_map(probe: Probe, point: Point) -> str:
    return _map(probe, point, MOST_COUNTED)


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
    return _mean_of(probe, point, _as_float(probe, point))


def _mean_of(probe: Probe, point: Point, tensor: str) -> str:
    """Append the spatial mean as [rows, channels]."""
    if _planar(point):
        return probe.add("Flatten", [probe.add("GlobalAveragePool", [tensor])], axis=1)
    return probe.reduce("ReduceMean", tensor, _spatial(point))


def _map_bins(probe: Probe, point: Point, limits: Range | None) -> str:
    binned = _binned(probe, _counted_map(probe, point), limits or (0.0, 1.0), bins_for(point.positions))
    return binned if _planar(point) else _channels_first(probe, point, binned)


def _mean_bins(probe: Probe, point: Point, limits: Range | None) -> str:
    return _binned(probe, _mean(probe, point), limits or (0.0, 1.0), BINS)


def _zeros(probe: Probe, point: Point, limits: Range | None) -> str:
    """Append the share of exact zeros: 1 - mean of (|x| > 0)."""
    magnitude = probe.add("Abs", [_map(probe, point)])
    active = probe.add("Greater", [magnitude, probe.constant(np.asarray([0], dtype=np.float32))])
    share = probe.reduce("ReduceMean", probe.add("Cast", [active], to=onnx.TensorProto.FLOAT), _spatial(point))
    return probe.add("Sub", [probe.constant(np.asarray([1], dtype=np.float32)), share])


def _active(probe: Probe, point: Point, limits: Range | None) -> str:
    return probe.add("Sub", [probe.constant(np.asarray([1], dtype=np.float32)), _zeros(probe, point, limits)])


def sampled_positions(point: Point) -> IntArray:
    """Return which positions of a row's map are looked at where maps differ in size: drawn once for each layer."""
    there = point.positions // point.rows
    if there <= POSITIONS:
        return np.arange(there, dtype=np.int64)
    seed = int.from_bytes(hashlib.blake2b(point.layer.encode(), digest_size=4).digest())
    return np.sort(np.random.default_rng(seed).choice(there, POSITIONS, replace=False)).astype(np.int64)


def _sampled(probe: Probe, point: Point, limits: Range | None) -> str:
    """Append [rows, channels, sampled positions]."""
    tensor = _as_float(probe, point)
    if not _free_maps(probe, point):
        return _channels_first(probe, point, _thinned(probe, point, tensor, POSITIONS))
    # Maps of another size than the nominal one are looked at in the same places of the picture.
    tensor = _channels_first(probe, point, tensor)
    size = probe.add("Gather", [probe.add("Shape", [tensor]), probe.constant(np.asarray([2], dtype=np.int64))])
    scaled = probe.add("Mul", [probe.constant(sampled_positions(point)), size])
    there = probe.constant(np.asarray([point.positions // point.rows], dtype=np.int64))
    return probe.add("Gather", [tensor, probe.add("Div", [scaled, there])], axis=2)


def _squares(probe: Probe, point: Point, limits: Range | None) -> str:
    return probe.reduce("ReduceSumSquare", _sampled(probe, point, limits), [2])


def _free_maps(probe: Probe, point: Point) -> bool:
    """Whether the size of a map depends on that of the sample."""
    first, second = (shapes[point.tensor] for shapes in probe.graph.facts.shapes)
    return any(first[axis] != second[axis] for axis in _spatial(point))


def _mean_column(probe: Probe, point: Point, limits: Range | None) -> str:
    """Append the spatial mean as [rows, channels, 1]."""
    shape = probe.constant(np.asarray([0, point.channels, 1], dtype=np.int64))
    return probe.add("Reshape", [_mean(probe, point), shape])


def _mean_squares(probe: Probe, point: Point, limits: Range | None) -> str:
    return probe.reduce("ReduceSumSquare", _mean_column(probe, point, limits), [2])


def _wins(probe: Probe, point: Point, limits: Range | None) -> str:
    """Append for each row of a sample, channel and position the weighted number of samples active there, as one vector.

    Where a MaxPool follows directly, only the positions that win their window count. Other maps are thinned.
    """
    tensor = _floats(probe, point.activity)
    if point.pool is not None and probe.opset >= 11:
        attributes = {name: value for name, value in point.pool.attrs.items() if name != "storage_order"}
        pooled, places = probe.add_two("MaxPool", [tensor], **attributes)
        same = {name: attributes[name] for name in ("kernel_shape", "strides", "pads") if name in attributes}
        tensor = probe.add("MaxUnpool", [pooled, places, probe.add("Shape", [tensor])], **same)
    else:
        tensor = _thinned(probe, point, tensor, MOST_POSITIONS)
    active = probe.add("HardSigmoid", [tensor], alpha=STEEPEST, beta=0.0)
    if point.rows > 1 or point.axis != 1:
        together = np.asarray([-1, point.rows * point.channels, 0], dtype=np.int64)
        active = probe.add("Reshape", [_channels_first(probe, point, active), probe.constant(together)])
    return probe.add("MatMul", [SAMPLE_WEIGHT, probe.add("Flatten", [active], axis=1)])


def _never_negative(graph: Graph, tensor: str) -> bool:
    node = graph.producers[tensor]
    if node.op == "Clip" and len(node.inputs) > 1 and node.inputs[1]:
        lowest = graph.facts.known.get(node.inputs[1])
        return lowest is not None and bool((lowest.first >= 0).all())
    return node.op in ("Relu", "Sigmoid") or (node.op == "Clip" and node.attrs.get("min", -1.0) >= 0)


def _magnitude(probe: Probe, point: Point, limits: Range | None) -> str:
    tensor = _map(probe, point)
    if not _planar(point):
        return probe.reduce("ReduceMean", probe.add("Abs", [tensor]), _spatial(point))
    # |x| = 2 max(0, x) - x, which the runtime computes where its convolutions left x
    mean = _mean_of(probe, point, tensor)
    if _never_negative(probe.graph, point.tensor):
        return mean
    positive = _mean_of(probe, point, probe.add("Relu", [tensor]))
    return probe.add("Sub", [probe.add("Add", [positive, positive]), mean])


PROBES: Mapping[str, Statistic] = {
    "map entropy": Statistic(_map_bins, MapEntropies, _counted_map),
    "gap entropy": Statistic(_mean_bins, MeanHistograms, _mean),
    "zeros": Statistic(_zeros, ClassSums),
    "mean magnitude": Statistic(_magnitude, ClassSums),
    "active share": Statistic(_active, ClassSums),
    "position sums": Statistic(_sampled, PositionSums),
    "squares": Statistic(_squares, SquareSums),
    "mean sums": Statistic(_mean_column, PositionSums),
    "mean squares": Statistic(_mean_squares, SquareSums),
    COVARIANCES: Statistic(_sampled, Covariances),
    VECTOR_COVARIANCES: Statistic(_sampled, Covariances),
    MEAN_COVARIANCES: Statistic(_mean_column, Covariances),
    "class wins": Statistic(_wins, MostClasses, whole=True),
}
"""Statistics by the name under which methods ask for them."""

# What makes no sense for a kind of layer is not measured there.
SKIPPED: Mapping[str, frozenset[str]] = {
    "map": frozenset({"zeros", VECTOR_COVARIANCES}),
    "vector": frozenset({"map entropy", "gap entropy", COVARIANCES}),
}
