"""What a graph costs as a function of which channels are kept: multiply-adds and parameters.

Both are exact for any keep masks: a layer's MACs are its fixed factor times the kept widths of its weight's axes, and a
constant's size is the product of the kept widths of its axes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxprune.analysis.groups import Components
from onnxprune.analysis.labels import Labelled
from onnxprune.graph.model import Graph
from onnxprune.values.axes import Axis, BoolArray, FloatArray, IntArray, Ref


@dataclass(frozen=True, eq=False)
class Term:
    """`factor` times the kept widths of the labelled `axes` (numbers into `CostModel.axes`)."""

    node: int
    factor: float
    axes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CostModel:
    """Costs as sums of products of kept widths."""

    axes: tuple[Axis, ...]
    labels: tuple[IntArray, ...]
    macs: tuple[Term, ...]
    params: tuple[Term, ...]

    def widths(self, keep: BoolArray) -> FloatArray:
        """Return the kept width of every axis, given the components that are kept."""
        return np.asarray([np.count_nonzero(keep[labels]) for labels in self.labels], dtype=np.float64)

    def macs_of(self, widths: FloatArray) -> float:
        """Return the multiply-adds of one sample at these widths."""
        return _total(self.macs, widths)

    def params_of(self, widths: FloatArray) -> float:
        """Return the number of weights (elements of floating-point constants) at these widths."""
        return _total(self.params, widths)

    def layer_macs(self, widths: FloatArray) -> Mapping[int, float]:
        """Return the multiply-adds by node number."""
        found: dict[int, float] = {}
        for term in self.macs:
            found[term.node] = found.get(term.node, 0.0) + _value(term, widths)
        return found


def cost_model(graph: Graph, labelled: Labelled, components: Components) -> CostModel:
    """Collect the cost terms of `graph`."""
    used: dict[Axis, int] = {}

    def place(axis: Axis) -> int:
        return used.setdefault(axis, len(used))

    def term(node: int, factor: float, axes: tuple[Axis, ...]) -> Term:
        fixed = factor
        numbers = []
        for axis in axes:
            if axis in labelled.sizes:
                numbers.append(place(axis))
            else:
                fixed *= _size(graph, axis)
        return Term(node, fixed, tuple(numbers))

    macs = tuple(term(node, fact.factor, fact.axes) for fact, node in labelled.macs)
    params = tuple(term(ref.node, 1.0, tuple(Axis(ref, i) for i in range(rank))) for ref, rank in _weights(graph))
    axes = tuple(used)
    return CostModel(axes, tuple(components.labels(axis) for axis in axes), macs, params)


def _weights(graph: Graph) -> list[tuple[Ref, int]]:
    """Return the first use of every floating-point constant that an activation meets, with its rank."""
    found: dict[str, tuple[Ref, int]] = {}
    for node in graph.nodes:
        if all(graph.is_leaf(name) for name in node.outputs if name):
            continue
        for slot, name in enumerate(node.inputs):
            known = graph.facts.known.get(name) if name else None
            if known is not None and known.is_constant and known.first.dtype.kind == "f":
                found.setdefault(graph.root(name), (Ref(name, node.index, slot), known.first.ndim))
    return list(found.values())


def _size(graph: Graph, axis: Axis) -> int:
    pair = graph.facts.shape_pair(axis.ref.name)
    return 1 if pair is None else pair[0][axis.dim]


def _value(term: Term, widths: FloatArray) -> float:
    return term.factor * math.prod(float(widths[axis]) for axis in term.axes)


def _total(terms: tuple[Term, ...], widths: FloatArray) -> float:
    return float(sum(_value(term, widths) for term in terms))
