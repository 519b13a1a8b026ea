"""Why an axis is frozen, or what it is coupled to: the shortest chain of ties, step by step."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
from scipy.sparse.csgraph import breadth_first_order

from onnxprune.analysis.analysis import Analysis, Labelling
from onnxprune.analysis.groups import joined, tie_matrix
from onnxprune.analysis.labels import AppliedTie
from onnxprune.errors import InputError
from onnxprune.graph.model import Graph
from onnxprune.values.axes import Axis, IntArray
from onnxprune.values.groups import ChannelGroup

_NAMED = 3
"""Nodes that are named where several tie channels."""


@dataclass(frozen=True)
class TieStep:
    """From one axis to the next, because of a node."""

    source: str
    node: str
    target: str


@dataclass(frozen=True)
class Explanation:
    """What became of an axis.

    Attributes:
        axis: the axis asked about, as tensor:axis.
        size: its width, or None where no channel reaches it.
        reason: why it is frozen, or None.
        chain: the ties from the axis to where the reason lies.
        frozen: how many of its positions are frozen.
        coupled: for an axis that is free, the layers whose channels go with it, each with its chain of ties.
    """

    axis: str
    size: int | None
    reason: str | None
    chain: tuple[TieStep, ...]
    frozen: int
    coupled: tuple[tuple[str, tuple[TieStep, ...]], ...]


def with_what_ties(analysis: Analysis) -> Analysis:
    """Return the analysis with the reason in every group that could be cut, were its positions not one channel."""
    groups = tuple(
        replace(group, tied=_what_ties(analysis, group)) if group.size == 1 and group.frozen is None else group
        for group in analysis.groups
    )
    return replace(analysis, groups=groups)


def _what_ties(analysis: Analysis, group: ChannelGroup) -> str:
    """Name the nodes that tie positions of one axis to each other."""
    member = group.members[0]
    width = member.positions.shape[1]
    if width == 1:
        return "it has a single channel"
    component = analysis.components.labels(member.axis)[member.positions[0, 0]]
    nodes = {
        tie.node
        for tie in analysis.labelled.applied_ties
        if analysis.components.labels(tie.a)[tie.a_at[:1]] == component and _merges(tie)
    }
    named = [analysis.graph.nodes[node].title for node in sorted(nodes)] or ["a chain of ties"]
    *most, last = named if len(named) <= _NAMED else [*named[:_NAMED], "others"]
    first = f"{', '.join(most)} and " if most else ""
    return f"all {width} channels are one unit, tied by {first}{last}"


def _merges(tie: AppliedTie) -> bool:
    """Whether a tie brings two positions of an axis together."""
    return any(len(np.unique(at)) < len(at) for at in (tie.a_at, tie.b_at))


def find_axis(analysis: Analysis, text: str) -> tuple[str, int, Axis | None]:
    """Parse TENSOR:AXIS (split at the last colon); the axis is None where no channel reaches it.

    A constant that several nodes read stands for its first labelled use.

    Raises:
        InputError: no such tensor or axis.
    """
    tensor, _, number = text.rpartition(":")
    if not tensor or not number.lstrip("-").isdigit():
        raise InputError(f"Cannot read {text!r}; write TENSOR:AXIS, such as conv1.weight:0.", "bad-value")
    pair = analysis.graph.facts.shape_pair(tensor)
    known = analysis.graph.facts.types[0]
    if tensor not in known:
        close = get_close_matches(tensor, list(known), n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(repr(name) for name in close)}?" if close else "."
        raise InputError(f"There is no tensor {tensor!r} in this graph{hint}", "unknown-name")
    rank = len(pair[0]) if pair else 0
    if not -rank <= int(number) < rank:
        raise InputError(f"Tensor {tensor!r} has {rank} axes, so there is no axis {number}; count from 0.", "bad-value")
    dim = int(number) % rank
    reached = [a for a in analysis.sizes if a.dim == dim and a.ref.name == tensor]
    return tensor, dim, reached[0] if reached else None


def explain(analysis: Analysis, text: str) -> Explanation:
    """Explain the axis that `text` (TENSOR:AXIS) names.

    Raises:
        InputError: no such tensor or axis.
    """
    tensor, dim, axis = find_axis(analysis, text)
    name = f"{tensor}:{dim}"
    if axis is None:
        reason = "no prunable layer's channels reach this axis, so it stays as it is"
        return Explanation(name, None, reason, (), 0, ())
    found = [_explained(analysis.graph, each, axis) for each in analysis.labellings if axis in each.components.index]
    free = [each for each in found if each.reason is None]
    if not free:
        return found[0]
    coupled = {layer: chain for each in reversed(free) for layer, chain in each.coupled}
    layers = dict.fromkeys(produced.ref.name for produced, _ in analysis.labelled.produces)
    return replace(free[0], coupled=tuple((layer, coupled[layer]) for layer in layers if layer in coupled))


def _explained(graph: Graph, labelling: Labelling, axis: Axis) -> Explanation:
    """Explain an axis as one labelling has it."""
    name, of = str(axis), labelling.components.of
    walk = _Walk(graph, labelling)
    labels = walk.labels(axis)
    frozen_labels, reasons = walk.frozen_labels()
    frozen = np.isin(of[labels], of[frozen_labels])
    size = len(labels)
    if frozen.any():
        chain, end = walk.path(int(labels[np.flatnonzero(frozen)[0]]), frozen_labels)
        return Explanation(name, size, reasons[end], chain, int(frozen.sum()), ())
    coupled = []
    for produced, _ in labelling.labelled.produces:
        targets = walk.labels(produced)
        targets = targets[np.isin(of[targets], of[labels])]
        if targets.size and produced != axis:
            sources = labels[np.isin(of[labels], of[targets])]
            coupled.append((produced.ref.name, walk.path(int(sources[0]), targets)[0]))
    return Explanation(name, size, None, (), 0, tuple(coupled))


class _Walk:
    """Shortest paths over the ties, label by label."""

    def __init__(self, graph: Graph, labelling: Labelling) -> None:
        self._graph, self._labelled, self._components = graph, labelling.labelled, labelling.components
        self._matrix = tie_matrix(labelling.labelled, labelling.components)
        self._matrix = (self._matrix + self._matrix.T).tocsr()
        self._nodes = {(tie.a, tie.b): tie.node for tie in reversed(labelling.labelled.applied_ties)}

    def labels(self, axis: Axis) -> IntArray:
        """Return the labels of an axis."""
        place = self._components.index[axis]
        starts = self._components.starts
        return np.arange(starts[place], starts[place + 1], dtype=np.int64)

    def frozen_labels(self) -> tuple[IntArray, dict[int, str]]:
        """Return all labels that a freeze names, and its reason by label."""
        reasons: dict[int, str] = {}
        for frozen in self._labelled.frozen_axes:
            labels = self.labels(frozen.axis)
            for label in labels if frozen.at is None else labels[frozen.at]:
                reasons.setdefault(int(label), f"{frozen.axis} {joined(frozen.reason)}")
        return np.asarray(sorted(reasons), dtype=np.int64), reasons

    def path(self, source: int, targets: IntArray) -> tuple[tuple[TieStep, ...], int]:
        """Return the steps from `source` to the nearest of `targets`, and that target."""
        order, before = breadth_first_order(self._matrix, source, directed=False)
        end = int(order[np.isin(order, targets)][0])
        labels = [end]
        while labels[-1] != source:
            labels.append(int(before[labels[-1]]))
        return tuple(self._steps(labels[::-1])), end

    def _steps(self, labels: list[int]) -> Iterator[TieStep]:
        components, graph = self._components, self._graph
        axes = [components.axes[place] for place in components.axis_of(np.asarray(labels, dtype=np.int64))]
        for a, b in itertools.pairwise(axes):
            node = self._nodes.get((a, b), self._nodes.get((b, a)))
            if node is not None:
                yield TieStep(str(a), graph.nodes[node].title, str(b))
