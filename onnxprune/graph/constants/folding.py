"""Values that are known before the model runs: constants, what is computed from them, and what Shape says.

Each value is held for two trials of the free sizes (see `propagate`), with the axes that its numbers were read from, so
that a number which is really a channel count can be told from one that only happens to equal it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from onnxprune.graph.layers.quantized import OPS as QUANTIZED_OPS

Array = NDArray[Any]
Sources = frozenset[tuple[str, int]]  # (tensor, axis) pairs whose sizes a number was computed from
NO_SOURCES: Sources = frozenset()

# Arithmetic beyond this size is data, not shape arithmetic, and stays with the runtime.
MAX_ELEMENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Known:
    """A value in both trials; `sources` is an object array of the same shape, or None where no Shape took part."""

    first: Array
    second: Array
    sources: NDArray[np.object_] | None = None

    @property
    def is_constant(self) -> bool:
        """Whether the value follows from constants alone."""
        return self.sources is None and self.first is self.second

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """Which numbers are the same in both trials, that is, independent of free sizes."""
        return np.asarray(self.first == self.second)


def fold(op: str, attrs: Mapping[str, Any], inputs: Sequence[Known | None]) -> Known | None:
    """Evaluate one node whose inputs are all known (None stands for an omitted optional input).

    Returns None where the op is not shape arithmetic, or the value is too large or differs in shape between trials.
    """
    function = _MOVES.get(op)
    if function is not None:
        return _fold_move(function, attrs, inputs)
    function = _ARITHMETIC.get(op)
    if function is None or not inputs or inputs[0] is None:
        return None
    first = _apply(function, attrs, [known.first if known else None for known in inputs])
    if first is None or first.size > MAX_ELEMENTS:
        return None
    if all(known is None or known.is_constant for known in inputs):
        return Known(first, first)
    second = _apply(function, attrs, [known.second if known else None for known in inputs])
    if second is None or second.shape != first.shape:
        return None
    return Known(first, second, _merge_sources(inputs, first.shape))


def known_shape(tensor: str, first: Sequence[int], second: Sequence[int], attrs: Mapping[str, Any]) -> Known:
    """Return what a Shape node says of `tensor`: its dimensions and, for each, the axis that it was read from."""
    chosen = slice(attrs.get("start", 0), attrs.get("end"))
    sources = np.empty(len(first), dtype=object)
    sources[:] = [frozenset({(tensor, axis)}) for axis in range(len(first))]
    dims = [np.asarray(shape, dtype=np.int64)[chosen] for shape in (first, second)]
    return Known(dims[0], dims[1], sources[chosen])


def _apply(function: Callable[..., Array], attrs: Mapping[str, Any], values: list[Array | None]) -> Array | None:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(function(attrs, *values))
    except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError, MemoryError):
        return None


def _fold_move(
    function: Callable[..., Array], attrs: Mapping[str, Any], inputs: Sequence[Known | None]
) -> Known | None:
    """Evaluate an op that only moves elements, applying the same move to the elements' sources."""
    data = [known for known in inputs if known is not None]
    if not data:
        return None
    first = _apply(function, attrs, [known.first if known else None for known in inputs])
    if first is None or (first.size > MAX_ELEMENTS and not all(known.is_constant for known in data)):
        return None
    if all(known.is_constant for known in data):
        return Known(first, first)
    second = _apply(function, attrs, [known.second if known else None for known in inputs])
    if second is None or second.shape != first.shape:
        return None
    moved = inputs if function is _concat else inputs[:1]
    labels = [_sources_of(known) for known in moved if known]
    rest = [] if function is _concat else inputs[1:]
    sources = _apply(function, attrs, [*labels, *(known.first if known else None for known in rest)])
    # Where a size says how far the elements go, every one of them is there because of it.
    read = [known.sources for known in rest if known and known.sources is not None]
    sizes: list[Sources] = [source for places in read for source in places.flat]  # type: ignore[misc]
    reach = NO_SOURCES.union(*sizes)
    if sources is None:
        return None
    return Known(first, second, _reached(sources, reach) if reach else sources)


def _reached(places: NDArray[np.object_], reach: Sources) -> NDArray[np.object_]:
    """Add `reach` to the sources of every element."""
    if not _is_uniform(places) or not places.size:
        return np.asarray(_union(places, reach), dtype=object)
    everything = np.empty(places.shape, dtype=object)
    everything.fill(places.flat[0] | reach)  # type: ignore[operator]
    return everything


def _sources_of(known: Known) -> NDArray[np.object_]:
    if known.sources is not None:
        return known.sources
    empty = np.empty(known.first.shape, dtype=object)
    empty.fill(NO_SOURCES)
    return empty


_union = np.frompyfunc(lambda a, b: a | b, 2, 1)


def _merge_sources(inputs: Sequence[Known | None], shape: tuple[int, ...]) -> NDArray[np.object_]:
    """Return the sources of a computed value: element by element where the inputs broadcast, else all of them."""
    labels = [_sources_of(known) for known in inputs if known]
    if all(map(_is_uniform, labels)):
        shared: list[Sources] = [label.flat[0] for label in labels if label.size]  # type: ignore[misc]
        everything = np.empty(shape, dtype=object)
        everything.fill(NO_SOURCES.union(*shared))
        return everything
    try:
        if np.broadcast_shapes(*(label.shape for label in labels)) == shape:
            merged: Any = labels[0]
            for label in labels[1:]:
                merged = _union(merged, label)
            return np.broadcast_to(np.asarray(merged, dtype=object), shape).copy()
    except ValueError:
        pass
    everything = np.empty(shape, dtype=object)
    everything.fill(NO_SOURCES.union(*(source for label in labels for source in label.ravel())))
    return everything


def _is_uniform(labels: NDArray[np.object_]) -> bool:
    """Whether all numbers of a value have the same sources, as in most large tables."""
    same = np.empty((), dtype=object)
    same[()] = labels.flat[0] if labels.size else NO_SOURCES
    return bool(np.all(labels == same))


RANDOM = frozenset(
    "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli Dropout".split()
)
"""Ops whose results are no constants, whatever they read."""

# Quantized weights stay quantized: what is computed from them is left to the op rules.
_NEVER_FOLDED = RANDOM | {"DynamicQuantizeLinear", *(op for domain, op in QUANTIZED_OPS if not domain)}
_REFERENCE_ELEMENTS = 1 << 24


def fold_constants(node: onnx.NodeProto, opset: int, inputs: Sequence[Array | None]) -> list[Array] | None:
    """Evaluate any other op on constants alone with onnx's reference implementation; None where that cannot be."""
    if node.op_type in _NEVER_FOLDED or sum(value.size for value in inputs if value is not None) > _REFERENCE_ELEMENTS:
        return None
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.add(version=opset)
    model.graph.name = "constants"
    model.graph.node.append(node)
    feeds = {name: value for name, value in zip(node.input, inputs, strict=True) if name and value is not None}
    for name, value in feeds.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, value.shape))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # whatever an op's reference implementation dies of, the op is then simply not folded
        return None
    values = list(found)
    return values if all(isinstance(value, np.ndarray | np.generic) for value in values) else None


# ---- ops that move elements: (attrs, data, *indices) -> moved data, whatever the dtype ----


def _axes(attrs: Mapping[str, Any], axes: Array | None) -> tuple[int, ...] | None:
    if axes is not None:
        return tuple(int(axis) for axis in axes)
    return tuple(attrs["axes"]) if "axes" in attrs else None


def _concat(attrs: Mapping[str, Any], *parts: Array) -> Array:
    return np.concatenate(parts, axis=attrs["axis"])


def _gather(attrs: Mapping[str, Any], data: Array, indices: Array) -> Array:
    return np.asarray(np.take(data, indices, axis=attrs.get("axis", 0)))


def _slice(
    attrs: Mapping[str, Any],
    data: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    begin = attrs["starts"] if starts is None else starts
    end = attrs["ends"] if ends is None else ends
    chosen = _axes(attrs, axes) or tuple(range(len(begin)))
    strides = [1] * len(begin) if steps is None else steps
    cut: list[slice] = [slice(None)] * data.ndim
    for axis, start, stop, step in zip(chosen, begin, end, strides, strict=True):
        low, high, by = int(start), int(stop), int(step)
        # A backward slice that runs to the front has an end that python would read as "from the back".
        stop_at = None if by < 0 and high < -data.shape[axis] else high
        cut[axis] = slice(low, stop_at, by)
    return data[tuple(cut)]


def _squeeze(attrs: Mapping[str, Any], data: Array, axes: Array | None = None) -> Array:
    return np.squeeze(data, axis=_axes(attrs, axes))


def _unsqueeze(attrs: Mapping[str, Any], data: Array, axes: Array | None = None) -> Array:
    chosen = _axes(attrs, axes)
    return np.expand_dims(data, chosen if chosen is not None else ())


def _reshape(attrs: Mapping[str, Any], data: Array, target: Array) -> Array:
    dims = [int(dim) for dim in target]
    if not attrs.get("allowzero", 0):
        dims = [data.shape[axis] if dim == 0 else dim for axis, dim in enumerate(dims)]
    return data.reshape(dims)


def _flatten(attrs: Mapping[str, Any], data: Array) -> Array:
    axis = attrs.get("axis", 1)
    return data.reshape(int(np.prod(data.shape[:axis])), -1)


_MOVES: dict[str, Callable[..., Array]] = {
    "Identity": lambda attrs, data: data,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": lambda attrs, data: np.transpose(data, attrs.get("perm")),
    "Expand": lambda attrs, data, shape: np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(shape))),
    "Tile": lambda attrs, data, repeats: np.tile(data, tuple(repeats)),
}

# ---- arithmetic: (attrs, *values) -> value ----


def _cast(attrs: Mapping[str, Any], value: Array) -> Array:
    return value.astype(onnx.helper.tensor_dtype_to_np_dtype(attrs["to"]))


def _clip(attrs: Mapping[str, Any], value: Array, low: Array | None = None, high: Array | None = None) -> Array:
    bounds = (attrs.get("min") if low is None else low, attrs.get("max") if high is None else high)
    return np.clip(value, *bounds) if bounds != (None, None) else value


def _div(attrs: Mapping[str, Any], a: Array, b: Array) -> Array:
    # ONNX truncates integer quotients towards zero.
    return np.trunc(a / b).astype(a.dtype) if a.dtype.kind in "iu" else np.asarray(a / b)


def _mod(attrs: Mapping[str, Any], a: Array, b: Array) -> Array:
    return np.asarray(np.fmod(a, b) if attrs.get("fmod", 0) else np.mod(a, b))


def _constant_of_shape(attrs: Mapping[str, Any], shape: Array) -> Array:
    if int(np.prod(shape)) > MAX_ELEMENTS:
        raise ValueError("too large to fold")
    value = attrs.get("value")
    filler = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return np.full(tuple(int(dim) for dim in shape), filler.ravel()[0], dtype=filler.dtype)


def _range(attrs: Mapping[str, Any], start: Array, limit: Array, delta: Array) -> Array:
    return np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _reducer(function: Callable[..., Any]) -> Callable[..., Array]:
    def reduce(attrs: Mapping[str, Any], data: Array, axes: Array | None = None) -> Array:
        reduced = function(data, axis=_axes(attrs, axes), keepdims=bool(attrs.get("keepdims", 1)))
        return np.asarray(reduced, dtype=data.dtype)

    return reduce


def _elementwise(function: Callable[..., Any]) -> Callable[..., Array]:
    return lambda attrs, *values: np.asarray(function(*values))


def _variadic(function: Callable[[Any, Any], Any]) -> Callable[..., Array]:
    def combine(attrs: Mapping[str, Any], *values: Array) -> Array:
        result = values[0]
        for value in values[1:]:
            result = function(result, value)
        return np.asarray(result)

    return combine


_ARITHMETIC: dict[str, Callable[..., Array]] = {
    "Cast": _cast,
    "Clip": _clip,
    "Div": _div,
    "Mod": _mod,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Size": lambda attrs, data: np.asarray(data.size, dtype=np.int64),
    "Pow": lambda attrs, a, b: np.power(a, b).astype(a.dtype),
    "Add": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Abs": _elementwise(np.abs),
    "Floor": _elementwise(np.floor),
    "Ceil": _elementwise(np.ceil),
    "Round": _elementwise(np.round),
    "Sqrt": _elementwise(np.sqrt),
    "Exp": _elementwise(np.exp),
    "Log": _elementwise(np.log),
    "Reciprocal": _elementwise(np.reciprocal),
    "Equal": _elementwise(np.equal),
    "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal),
    "Less": _elementwise(np.less),
    "LessOrEqual": _elementwise(np.less_equal),
    "And": _elementwise(np.logical_and),
    "Or": _elementwise(np.logical_or),
    "Not": _elementwise(np.logical_not),
    "Where": _elementwise(np.where),
    "Max": _variadic(np.maximum),
    "Min": _variadic(np.minimum),
    "Sum": _variadic(np.add),
    "ReduceProd": _reducer(np.prod),
    "ReduceSum": _reducer(np.sum),
    "ReduceMax": _reducer(np.max),
    "ReduceMin": _reducer(np.min),
}
