"""Collect the cost terms of a graph: which widths every layer's MACs and every weight's size depend on."""

import numpy as np

from onnxprune.analysis.labels import Labelled
from onnxprune.graph.measures import element_size
from onnxprune.graph.model import Graph
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.costs import CostTable, Term
from onnxprune.values.groups import ChannelGroup


def cost_table(graph: Graph, labelled: Labelled, groups: tuple[ChannelGroup, ...]) -> CostTable:
    """Return the costs of `graph` in terms of the channels that `groups` keep."""
    used: dict[Axis, int] = {}

    def term(node: int, factor: float, axes: tuple[Axis, ...]) -> Term:
        numbers = []
        for axis in axes:
            if axis in labelled.sizes:
                numbers.append(used.setdefault(axis, len(used)))
                factor *= _size(graph, axis) / max(
                    1, labelled.sizes[axis]
                )  # how often channels come round on a free axis
            else:
                factor *= _size(graph, axis)
        return Term(node, factor, tuple(numbers))

    macs = tuple(term(node, fact.factor, fact.axes) for fact, node in labelled.macs)
    stored = [(ref, tuple(Axis(ref, i) for i in range(rank))) for ref, rank in _weights(graph)]
    params = tuple(term(ref.node, 1.0, axes) for ref, axes in stored)
    sizes = tuple(term(ref.node, _element_size(graph, ref.name), axes) for ref, axes in stored)
    multiplicity = np.zeros((len(used), len(groups)))
    for column, group in enumerate(groups):
        for member in group.members:
            if member.axis in used:
                multiplicity[used[member.axis], column] = member.positions.shape[1]
    return CostTable(
        groups=tuple(group.name for group in groups),
        sizes=np.asarray([group.size for group in groups], dtype=np.float64),
        widths=np.asarray([labelled.sizes[axis] for axis in used], dtype=np.float64),
        multiplicity=multiplicity,
        macs=macs,
        params=params,
        bytes=sizes,
    )


def _weights(graph: Graph) -> list[tuple[Ref, int]]:
    """Return the first use of every weight (see `count_params`) that an activation meets, with its rank."""
    found: dict[str, tuple[Ref, int]] = {}
    for node in graph.nodes:
        if graph.is_folded(node):
            continue
        for slot in graph.weight_slots(node):
            name = node.inputs[slot]
            rank = graph.facts.known[name].first.ndim
            found.setdefault(graph.root(name), (Ref(name, node.index, slot), rank))
    return list(found.values())


def _element_size(graph: Graph, name: str) -> float:
    """Return the bytes of one element of a constant, as it is stored."""
    moved = graph.moved(graph.root(name))
    stored = graph.root(name) if moved is None else moved[0]
    tensor = graph.initializers.get(stored)
    return graph.facts.known[name].first.itemsize if tensor is None else element_size(tensor.data_type)


def _size(graph: Graph, axis: Axis) -> int:
    pair = graph.facts.shape_pair(axis.ref.name)
    return 1 if pair is None else pair[0][axis.dim]
