"""Collect the cost terms of a graph: which widths every layer's MACs and every weight's size depend on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.other_factors import Overlaps, overlaps
from onnxprune.graph.layers.quantized import numbers_each
from onnxprune.graph.model import Graph
from onnxprune.graph.storage.measures import element_size
from onnxprune.values.axes import Axis, FloatArray, Ref
from onnxprune.values.branches import Branch
from onnxprune.values.costs import CostTable, Term
from onnxprune.values.groups import ChannelGroup


def cost_table(analysis: Analysis, branches: Sequence[Branch] = ()) -> CostTable:
    """Return the costs of a graph in terms of the channels that groups keep, all of them gone where a branch goes."""
    graph, groups, reached = analysis.graph, analysis.groups, analysis.sizes
    sizes = np.asarray([group.size for group in groups], dtype=np.float64)
    met = overlaps(analysis) if analysis.others else {}
    numbers, widths, multiplicity = _columns(reached, groups, met)
    column = {group.name: place for place, group in enumerate(groups)}
    crossed = {(numbers[axis], column[a], column[b], many): None for axis, of in met.items() for a, b, many in of}
    needs = _needs(branches, groups, widths, multiplicity, [number for number, *_ in crossed])

    def term(node: int, factor: float, axes: tuple[Axis, ...]) -> Term:
        found = []
        for axis in axes:
            factor *= _size(graph, axis)
            if axis in reached:
                found.append(numbers[axis])
                # What is left of the size is how often the channels come round on a free axis.
                factor /= max(1, reached[axis])
        return Term(node, factor, tuple(found), needs.get(node, ()))

    stored = [(ref, tuple(Axis(ref, i) for i in range(rank))) for ref, rank in _weights(graph)]
    written = [
        (node.index, tuple(Axis(Ref(name), i) for i in range(len(pair[0]))))
        for node in graph.nodes
        if not graph.is_folded(node)
        for name in node.outputs
        if name and (pair := graph.facts.shape_pair(name)) is not None
    ]
    return CostTable(
        groups=tuple(group.name for group in groups),
        sizes=sizes,
        widths=widths,
        multiplicity=multiplicity,
        macs=tuple(term(node, fact.factor, fact.axes) for fact, node in analysis.labelled.macs),
        params=tuple(term(ref.node, _numbers_each(graph, ref), axes) for ref, axes in stored),
        bytes=tuple(term(ref.node, _element_size(graph, ref.name), axes) for ref, axes in stored),
        numbers=numbers,
        made=_together(term(node, 1.0, axes) for node, axes in written),
        overlaps=tuple(crossed),
    )


def _columns(
    sizes: Mapping[Axis, int], groups: Sequence[ChannelGroup], met: Overlaps
) -> tuple[dict[Axis, int], FloatArray, FloatArray]:
    """Number the axes, those that are as wide and change with the same groups alike; return their widths and groups."""
    reached: dict[Axis, list[tuple[int, int]]] = {axis: [] for axis in sizes}
    for column, group in enumerate(groups):
        for member in group.members:
            if member.axis in reached:
                reached[member.axis].append((column, member.positions.shape[1]))
    kinds: dict[tuple[Any, ...], int] = {}
    numbers = {
        axis: kinds.setdefault((sizes[axis], tuple(found), met.get(axis)), len(kinds))
        for axis, found in reached.items()
    }
    multiplicity = np.zeros((len(kinds), len(groups)))
    for (_, found, _), number in kinds.items():
        for column, times in found:
            multiplicity[number, column] = times
    return numbers, np.asarray([size for size, _, _ in kinds], dtype=np.float64), multiplicity


def _needs(
    branches: Sequence[Branch],
    groups: Sequence[ChannelGroup],
    widths: FloatArray,
    multiplicity: FloatArray,
    crossed: Sequence[int],
) -> dict[int, tuple[int, ...]]:
    """Return by node the axes whose widths say whether the smallest branch that it lies in is there.

    An axis says so of a group where it holds the channels of that group and of no other; none of those `crossed` does.
    """
    place = {group.name: column for column, group in enumerate(groups)}
    found: dict[int, tuple[int, ...]] = {}
    for branch in sorted(branches, key=lambda branch: -len(branch.nodes)):
        axes = []
        for column in (place[name] for name in branch.groups):
            own = (multiplicity[:, column] > 0) & (multiplicity[:, column] * groups[column].size == widths)
            own[crossed] = False
            axes += np.flatnonzero(own)[:1].tolist()
        if len(axes) == len(branch.groups):
            found.update(dict.fromkeys(branch.nodes, tuple(axes)))
    return found


def _together(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Add up terms of the same widths, whoever pays them."""
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    for term in terms:
        key = (tuple(sorted(term.axes)), term.needs)
        found[key] = found.get(key, 0.0) + term.factor
    return tuple(Term(-1, factor, axes, needs) for (axes, needs), factor in found.items())


_FILLED = frozenset(("ConstantOfShape", "EyeLike", "Range"))


def _weights(graph: Graph) -> list[tuple[Ref, int]]:
    """Return the first use of every weight (see `count_params`) that an activation meets, with its rank.

    What is made of a shape alone is not in the file.
    """
    found: dict[str, tuple[Ref, int]] = {}
    for node in graph.nodes:
        if graph.is_folded(node):
            continue
        for slot in graph.weight_slots(node):
            name = node.inputs[slot]
            maker = graph.producers.get(graph.stored(name))
            if maker is not None and maker.op in _FILLED:
                continue
            rank = graph.facts.known[name].first.ndim
            found.setdefault(graph.stored(name), (Ref(name, node.index, slot), rank))
    return list(found.values())


def _numbers_each(graph: Graph, weight: Ref) -> float:
    node = graph.nodes[weight.node]
    return float(numbers_each(node.domain, node.op, node.attrs))


def _element_size(graph: Graph, name: str) -> float:
    """Return the bytes of one element of a constant, as it is stored."""
    tensor = graph.initializers.get(graph.stored(name))
    return graph.facts.known[name].first.itemsize if tensor is None else element_size(tensor.data_type)


def _size(graph: Graph, axis: Axis) -> int:
    pair = graph.facts.shape_pair(axis.ref.name)
    return 1 if pair is None else pair[0][axis.dim]
