"""Values that are known before the model runs: constants, what is computed from them, and what Shape says.

Each value is held for two trials of the free sizes (see `propagate`), with the axes that its numbers were read from, so
that a number which is really a channel count can be told from one that only happens to equal it.

What a node computes is asked of onnx's own reference implementation. Ours is only which numbers of a result come from
which numbers of the operands: an op that moves elements is run once more on their positions.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from onnxprune.graph.layers.quantized import OPS as QUANTIZED_OPS

Array = NDArray[Any]
Sources = frozenset[tuple[str, int]]  # (tensor, axis) pairs whose sizes a number was computed from
NO_SOURCES: Sources = frozenset()

MAX_ELEMENTS = 1 << 20
"""Arithmetic on sizes beyond this many numbers is data, not shape arithmetic, and stays with the runtime."""

_TINY = 64

MAX_CONSTANT = 1 << 24
"""Constants with more numbers are not computed with; they may be moved, which most often makes a view."""

MAX_ELSEWHERE = 1 << 14
"""What ops with loops of their own (convolutions, pools, recurrent layers) may read and make as constants."""

MAX_PRODUCT = 1 << 31
"""Multiply-adds of a product of two constants that is computed."""

RANDOM = frozenset(
    "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli Dropout".split()
)
"""Ops whose results are no constants, whatever they read."""

# Quantized weights stay quantized: what is computed from them is left to the op rules.
_NEVER_FOLDED = RANDOM | {"DynamicQuantizeLinear", *(op for domain, op in QUANTIZED_OPS if not domain)}

_MOVING = frozenset(
    "Concat Expand Flatten Gather GatherElements GatherND Identity Reshape Slice Split Squeeze Tile Transpose"
    " Unsqueeze".split()
)
"""Ops that move elements of their first input (Concat: of all), whatever these are."""

_ELEMENTWISE = frozenset(
    "Abs Add And Cast CastLike Ceil Clip Div Equal Erf Exp Floor Greater GreaterOrEqual HardSigmoid HardSwish Less"
    " LessOrEqual Log Max Mean Min Mod Mul Neg Not Or Pow Reciprocal Relu Round Sigmoid Sign Softplus Sqrt Sub Sum Tanh"
    " Where Xor".split()
)
"""Ops whose every number follows from the numbers at the same place, as broadcasting lines them up."""

_ARITHMETIC = _MOVING | _ELEMENTWISE | frozenset(
    "ConstantOfShape CumSum Range ReduceMax ReduceMin ReduceProd ReduceSum Size".split()
)  # fmt: skip
"""The ops that sizes are computed with."""

_SIZED_BY_VALUES = frozenset("ConstantOfShape Expand Range Tile".split())
"""Those of them whose results may be far larger than what they read."""

_PRODUCTS = frozenset(("MatMul", "Gemm"))
_QUICK = (
    _ARITHMETIC | _PRODUCTS | frozenset("BatchNormalization LayerNormalization ReduceL2 ReduceMean Softmax".split())
)


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


def is_foldable(op: str) -> bool:
    """Whether an op of the standard may be computed before the model runs."""
    return op not in _NEVER_FOLDED


def may_grow(op: str, inputs: Sequence[Known | None]) -> bool:
    """Whether what an op makes of these values may be large, so that it has to be known how large before it is made."""
    return op not in _ARITHMETIC or op in _SIZED_BY_VALUES or sum(known.first.size for known in inputs if known) > _TINY


def fold(
    node: onnx.NodeProto, opset: int, inputs: Sequence[Known | None], elements: int | None
) -> tuple[Known, ...] | None:
    """Evaluate a node whose inputs are all known.

    Args:
        node: a node of the standard domain, without subgraphs.
        opset: the version of that domain.
        inputs: the values of its inputs in order; None stands for an omitted optional input.
        elements: how many numbers the result has, where that can be told beforehand.

    Returns:
        The results that have a name, or None where they are not worth computing (too large, too much work, no
        arithmetic on sizes) or differ in shape between the trials.
    """
    data = [known for known in inputs if known is not None]
    constant = all(known.is_constant for known in data)
    if not data or not is_foldable(node.op_type) or not _is_small(node.op_type, data, elements, constant=constant):
        return None
    if node.op_type == "Identity":  # the reference copies, which would read large weights into memory
        return tuple(data)
    evaluate = _evaluator(node, opset, inputs)
    first = evaluate([_first(known) for known in inputs])
    if first is None or constant:
        return None if first is None else tuple(Known(value, value) for value in first)
    second = evaluate([None if known is None else known.second for known in inputs])
    if second is None or any(a.shape != b.shape or a.size > MAX_ELEMENTS for a, b in zip(first, second, strict=True)):
        return None
    shapes = [value.shape for value in first]
    sources = _moved(node.op_type, evaluate, inputs, shapes) if node.op_type in _MOVING else None
    if sources is None:
        sources = [_merged(data, shape, aligned=node.op_type in _ELEMENTWISE) for shape in shapes]
    return tuple(Known(*each) for each in zip(first, second, sources, strict=True))


def known_shape(tensor: str, first: Sequence[int], second: Sequence[int], attrs: Mapping[str, Any]) -> Known:
    """Return what a Shape node says of `tensor`: its dimensions and, for each, the axis that it was read from."""
    chosen = slice(attrs.get("start", 0), attrs.get("end"))
    sources = np.empty(len(first), dtype=object)
    sources[:] = [frozenset({(tensor, axis)}) for axis in range(len(first))]
    dims = [np.asarray(shape, dtype=np.int64)[chosen] for shape in (first, second)]
    return Known(dims[0], dims[1], sources[chosen])


def known_size(tensor: str, first: Sequence[int], second: Sequence[int]) -> Known:
    """Return what a Size node says of `tensor`."""
    sources = np.empty((), dtype=object)
    sources[()] = frozenset((tensor, axis) for axis in range(len(first)))
    counts = [np.asarray(math.prod(shape), dtype=np.int64) for shape in (first, second)]
    return Known(counts[0], counts[1], sources)


def _is_small(op: str, data: Sequence[Known], elements: int | None, *, constant: bool) -> bool:
    """Whether a result may be computed: neither large nor much work."""
    read = sum(known.first.size for known in data)
    made = read if elements is None else elements
    if not constant:
        return op in _ARITHMETIC and made <= MAX_ELEMENTS
    if op in _MOVING:
        return made <= max(read, MAX_CONSTANT)
    if op in _PRODUCTS:
        inner = (
            data[0].first.size
            / max(1, elements or 1)
            * max(known.first.shape[-1] for known in data if known.first.ndim)
        )
        return max(read, made) <= MAX_CONSTANT and made * max(1.0, inner) <= MAX_PRODUCT
    return max(read, made) <= (MAX_CONSTANT if op in _QUICK else MAX_ELSEWHERE)


def _first(known: Known | None) -> Array | None:
    return None if known is None else known.first


def _evaluator(node: onnx.NodeProto, opset: int, inputs: Sequence[Known | None]) -> "_Evaluator":
    """Return what evaluates a node: most of the nodes that a graph computes its sizes with are alike but for names."""
    like = onnx.NodeProto(op_type=node.op_type, attribute=node.attribute)
    like.input.extend(f"input {slot}" if name else "" for slot, name in enumerate(node.input))
    like.output.extend(f"output {slot}" if name else "" for slot, name in enumerate(node.output))
    kinds = [0 if known is None else onnx.helper.np_dtype_to_tensor_dtype(known.first.dtype) for known in inputs]
    return _evaluator_of(like.SerializeToString(deterministic=True), opset, tuple(kinds))


@lru_cache(maxsize=256)
def _evaluator_of(node: bytes, opset: int, kinds: tuple[int, ...]) -> "_Evaluator":
    return _Evaluator(onnx.NodeProto.FromString(node), opset, kinds)


class _Evaluator:
    """The reference implementation of one node, for inputs of these kinds (0: left out)."""

    def __init__(self, node: onnx.NodeProto, opset: int, kinds: Sequence[int]) -> None:
        model = onnx.ModelProto(ir_version=10)
        model.opset_import.add(version=opset)
        model.graph.name = "constants"
        model.graph.node.append(node)
        self.names = list(node.input)
        for name, kind in zip(self.names, kinds, strict=True):
            if kind:
                model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
        self.model = model
        self.built: ReferenceEvaluator | None = None

    def __call__(self, values: Sequence[Array | None]) -> list[Array] | None:
        """Return the results, or None where the implementation fails."""
        feeds = {name: value for name, value in zip(self.names, values, strict=True) if value is not None}
        try:
            with np.errstate(all="ignore"):
                self.built = self.built or ReferenceEvaluator(self.model)
                found = self.built.run(None, feeds)
        except Exception:  # whatever an op's reference implementation dies of, the op is then simply not folded
            return None
        arrays = all(isinstance(value, np.ndarray | np.generic) for value in found)
        return [np.asarray(value) for value in found] if arrays else None


def _moved(
    op: str, evaluate: _Evaluator, inputs: Sequence[Known | None], shapes: Sequence[tuple[int, ...]]
) -> list[NDArray[np.object_]] | None:
    """Return the sources of what an op moves into results of these shapes: it is run on its elements' positions."""
    count = len(inputs) if op == "Concat" else 1
    labels = [_sources_of(known) for known in inputs[:count] if known]
    # Where a size says how far the elements go, every one of them is there because of it.
    reach = _union_of(known.sources for known in inputs[count:] if known and known.sources is not None)
    if len({label.flat[0] for label in labels if label.size}) == 1 and all(map(_is_uniform, labels)):
        return [_uniform(shape, _union_of(labels) | reach) for shape in shapes]
    starts = np.cumsum([0, *(label.size for label in labels)])
    places = [
        np.arange(start, start + label.size, dtype=np.int64).reshape(label.shape)
        for start, label in zip(starts, labels, strict=False)
    ]
    found = evaluate([*places, *map(_first, inputs[count:])])
    if found is None:
        return None
    every = np.concatenate([label.ravel() for label in labels])
    return [_reached(every[place], reach) for place in found]


def _reached(places: NDArray[np.object_], reach: Sources) -> NDArray[np.object_]:
    """Add `reach` to the sources of every element."""
    if not reach:
        return np.asarray(places, dtype=object)
    if not _is_uniform(places) or not places.size:
        return np.asarray(_union(places, reach), dtype=object)
    return _uniform(places.shape, places.flat[0] | reach)  # type: ignore[operator]


def _sources_of(known: Known) -> NDArray[np.object_]:
    return known.sources if known.sources is not None else _uniform(known.first.shape, NO_SOURCES)


# Large tables hold the same few sets again and again.
_union = np.frompyfunc(lru_cache(maxsize=1 << 12)(operator.or_), 2, 1)


def _union_of(labels: Any) -> Sources:
    """Return all sources of some arrays of them."""
    every = (label.flat[:1] if _is_uniform(label) else label.ravel() for label in labels)
    return NO_SOURCES.union(*(source for label in every for source in label))


def _uniform(shape: tuple[int, ...], sources: Sources) -> NDArray[np.object_]:
    """Return the same sources for every element; they lie in memory once."""
    one = np.empty((), dtype=object)
    one[()] = sources
    return np.broadcast_to(one, shape)


def _merged(data: Sequence[Known], shape: tuple[int, ...], *, aligned: bool) -> NDArray[np.object_]:
    """Return the sources of a computed value: place by place where the operands are `aligned`, else all of them."""
    labels = [_sources_of(known) for known in data]
    if aligned and not all(map(_is_uniform, labels)):
        return np.broadcast_to(np.asarray(reduce(_union, labels), dtype=object), shape).copy()
    return _uniform(shape, _union_of(labels))


def _is_uniform(labels: NDArray[np.object_]) -> bool:
    """Whether all numbers of a value have the same sources, as in most large tables."""
    return not any(labels.strides) or bool(np.all(labels == labels[(slice(1),) * labels.ndim]))
