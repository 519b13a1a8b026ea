"""Label the positions of every axis that channels reach, and gather the ties between them.

A worklist starts at the axes that layers produce and follows the ties of the op rules in both directions. An axis that
is never reached stays opaque. Whatever is reached and not understood is frozen, with the reason.

An axis of free size can be labelled where channels are folded into it: its labels are those of one cycle.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxprune.analysis.reading import NOT_LET_THROUGH, Reading, met
from onnxprune.graph.model import Node
from onnxprune.ops.facts import Count, Cycle, Fact, Free, Freeze, Macs, Period, Pin, Produces, Renumber, Sums, Tie
from onnxprune.values.axes import Axis, IntArray
from onnxprune.values.groups import IN_OUTPUT

_LARGE = 1 << 14
"""A closed axis with more positions (all anchors of a detector) is not labelled: what leads to it is frozen at once."""


@dataclass(frozen=True, eq=False)
class AppliedTie:
    """A tie in force: positions `a_at` of `a` and `b_at` of `b`, because of node number `node`.

    `columns` says that it holds for the columns of a convolution's groups, see `Tie`; `a` then has all groups.
    """

    node: int
    a: Axis
    b: Axis
    a_at: IntArray
    b_at: IntArray
    columns: bool = False


@dataclass(frozen=True, eq=False)
class FrozenAxis:
    """Positions of an axis (None: all) that cannot be cut, why, and because of which node (-1: none).

    `outside` says that every user of the model sees them: they are of its inputs or outputs.
    """

    axis: Axis
    reason: str
    at: IntArray | None = None
    approximate: bool = False
    node: int = -1
    outside: bool = False


@dataclass(frozen=True, eq=False)
class Labelled:
    """The reached axes with their sizes, in the order they were reached, and all that was said about them.

    The size of an axis that channels are folded into, with a free batch, is that of one cycle.

    `carriers` are the exclusive ties that were taken; `blocking` those among them that stood in the way of another
    factor, which came later; `overruled` those of them in the way of a factor further in.
    `shared` are the ties in force between the uses of one weight.
    """

    sizes: Mapping[Axis, int]
    applied_ties: tuple[AppliedTie, ...]
    frozen_axes: tuple[FrozenAxis, ...]
    produces: tuple[tuple[Axis, int], ...]
    sums: tuple[tuple[Sums, int], ...]
    counts: tuple[tuple[Count, int], ...]
    renumbers: tuple[tuple[Renumber, int], ...]
    pins: tuple[tuple[Pin, int], ...]
    macs: tuple[tuple[Macs, int], ...]
    carriers: tuple[Tie, ...]
    blocking: frozenset[Tie]
    overruled: frozenset[Tie]
    shared: tuple[Tie, ...]


def label(reading: Reading, banned: frozenset[Tie] = frozenset()) -> Labelled:
    """Label a graph: the fixed point of the op rules from all producing axes, without the `banned` alternatives."""
    return _Labeller(reading, banned).run()


class _Labeller:
    """The worklist. Mutable, private to `label`."""

    def __init__(self, reading: Reading, banned: frozenset[Tie]) -> None:
        self.reading = reading
        self.graph = reading.graph
        self.banned = banned
        self.sizes: dict[Axis, int] = {}
        self.periods: dict[Axis, Period] = {}
        self.applied_ties: list[AppliedTie] = []
        self.frozen_axes: list[FrozenAxis] = []
        self.queue: list[tuple[int, int, Axis]] = []
        self.applied: set[Tie] = set()
        self.carrier: dict[tuple[int, Axis], Tie] = {}
        self.blocking: set[Tie] = set()
        self.overruled: set[Tie] = set()
        self.sparse = {tensor.values.name for tensor in self.graph.model.graph.sparse_initializer}
        self.place = {name: node.index for name, node in self.graph.producers.items()}

    def run(self) -> Labelled:
        every = self.reading.every
        seeds = [(fact.axis, number) for fact, number in every if isinstance(fact, Produces)]
        for seed, _ in seeds:
            self._reach(seed, self.reading.static.get(seed))
        while self.queue:
            self._spread(heapq.heappop(self.queue)[2])
        return Labelled(
            sizes=self.sizes,
            applied_ties=tuple(self.applied_ties),
            frozen_axes=tuple(self.frozen_axes),
            produces=tuple(seeds),
            sums=tuple((f, n) for f, n in every if isinstance(f, Sums) and self._is_masked(f)),
            counts=tuple((f, _reader(f, n)) for f, n in every if isinstance(f, Count) and self._is_counted(f)),
            renumbers=tuple((f, _reader(f, n)) for f, n in every if isinstance(f, Renumber) and f.axis in self.sizes),
            pins=tuple((f, n) for f, n in every if isinstance(f, Pin) and f.axis in self.sizes),
            macs=tuple((f, n) for f, n in every if isinstance(f, Macs)),
            carriers=tuple(dict.fromkeys(self.carrier.values())),
            blocking=frozenset(self.blocking),
            overruled=frozenset(self.overruled),
            shared=tuple(dict.fromkeys(t for ties in self.reading.shared.values() for t in ties if t in self.applied)),
        )

    def _is_counted(self, fact: Count) -> bool:
        """Whether a count holds: its axis is reached, by the alternative that it speaks of."""
        return fact.axis in self.sizes and (fact.under is None or fact.under in self.applied)

    def _is_masked(self, fact: Sums) -> bool:
        """Whether zeroing this operand is what removing its channels comes to."""
        ref = fact.axis.ref
        return fact.axis in self.sizes and (fact.inside or not (ref.is_use or ref.name in self.graph.constant_derived))

    def _reach(self, axis: Axis, size: int | None, period: Period | None = None) -> None:
        """Label the `size` positions of `axis` if it is new."""
        if axis in self.sizes:
            return
        if size is None:
            raise AssertionError(f"labelled {axis}, whose size is not fixed")
        self.sizes[axis] = size
        if period is not None:
            self.periods[axis] = period
        if axis.ref.name in self.graph.inputs:
            self._freeze(axis, f"is part of the graph input {axis.ref.name!r}", outside=True)
        if axis.ref.name in self.graph.outputs and not axis.ref.is_use and axis != self.reading.head:
            self._freeze(axis, f"{IN_OUTPUT} {axis.ref.name!r}", outside=True)
        if axis.ref.name in self.sparse:
            self._freeze(axis, f"is part of the sparse tensor {axis.ref.name!r}")
        place = axis.ref.node if axis.ref.is_use else self.place.get(axis.ref.name, -1)
        heapq.heappush(self.queue, (place, len(self.sizes), axis))

    def _freeze(self, axis: Axis, reason: str, at: IntArray | None = None, *, outside: bool = False) -> None:
        self.frozen_axes.append(FrozenAxis(axis, reason, at, outside=outside))

    def _spread(self, axis: Axis) -> None:
        """Apply what every node that touches `axis` says of it."""
        if axis.ref.is_use:
            nodes = [self.graph.nodes[axis.ref.node]]
            for tie in self.reading.shared.get(axis, ()):
                if tie not in self.banned:
                    self._bind(nodes[0], tie, axis)
        else:
            nodes = list(self.graph.readers.get(axis.ref.name, ()))
            if axis.ref.name in self.graph.producers:
                nodes.append(self.graph.producers[axis.ref.name])
        for node in nodes:
            self._apply(node, axis)

    def _apply(self, node: Node, axis: Axis) -> None:
        if node.index not in self.reading.facts:
            return  # it only reads sizes; what becomes of those numbers is settled in `sizes`
        if axis.ref.name in node.captured:
            self._freeze(axis, f"is read inside a subgraph of {node.title}")
            return
        facts = self.reading.facts.get(node.index, {}).get(axis)
        if not facts or node.index in self.reading.refused:
            why = self.reading.refused.get(node.index, NOT_LET_THROUGH)
            self._freeze(axis, f"{node.title}: {why}")
            return
        if self.reading.static.get(axis) is None and not self._goes_round(axis, facts):
            self._freeze(axis, f"{node.title}: its channels are folded into a free size")
            return
        candidates = [fact for fact in facts if isinstance(fact, Tie) and fact.exclusive]
        chosen = self._choose(node, axis, candidates) if candidates else None
        for fact in facts:
            if isinstance(fact, Freeze) and fact.under in (None, chosen):
                reason = met(node, fact.reason)
                self.frozen_axes.append(FrozenAxis(axis, reason, fact.at, fact.approximate, node.index))
            elif isinstance(fact, Tie) and (not fact.exclusive or fact is chosen):
                self._bind(node, fact, axis)

    def _choose(self, node: Node, axis: Axis, candidates: list[Tie]) -> Tie | None:
        """Pick the alternative by which `axis` goes through a reshape, or freeze it where another one was picked.

        Taken first: one picked already; the factor that the axis is known to vary by; the innermost factor (equal
        columns of every group).
        """
        for fact in candidates:
            if self.carrier.get((node.index, fact.a)) is fact and self.carrier.get((node.index, fact.b)) is fact:
                return fact
        taken = [self.carrier.get((node.index, end)) for fact in candidates for end in (fact.a, fact.b)]
        free = [
            fact
            for fact in candidates
            if fact not in self.banned
            and (node.index, fact.a) not in self.carrier
            and (node.index, fact.b) not in self.carrier
        ]
        if not free:
            inner = min(_stride(fact) for fact in candidates)
            self.blocking.update(other for other in taken if other is not None)
            self.overruled.update(other for other in taken if other is not None and _stride(other) > inner)
            self._freeze(axis, met(node, "is cut along another factor of the same axis"))
            return None
        period = self.periods.get(axis)
        fitting = [fact for fact in free if period is not None and fact.period(axis) == period]
        chosen = (fitting or free)[-1]
        self.carrier[node.index, chosen.a] = self.carrier[node.index, chosen.b] = chosen
        return chosen

    def _goes_round(self, axis: Axis, facts: list[Fact]) -> bool:
        """Whether all that a node says of an axis of free size holds for each of its cycles."""
        return all(
            isinstance(fact, Free)
            or (isinstance(fact, Cycle) and fact.size == self.sizes[axis])
            or (isinstance(fact, Tie) and (fact.a_at is None or fact.periods is not None))
            for fact in facts
        )

    def _size(self, node: Node, fact: Tie, axis: Axis, other: Axis) -> int | None:
        """Return how many labels `other`, which `axis` is tied to, has: its size, or where that is free, its cycle."""
        fixed = self.reading.static.get(other)
        if fixed is not None:
            return fixed
        said = self.reading.facts[node.index].get(other, ())
        if fact.a_at is None and fact.b_at is None:
            return self.sizes[axis] if self.reading.static.get(axis) is None else None
        return next((cycle.size for cycle in said if isinstance(cycle, Cycle)), None)

    def _bind(self, node: Node, fact: Tie, axis: Axis) -> None:
        """Put a tie in force, once, and label its other end."""
        if fact in self.applied:
            return
        self.applied.add(fact)
        other = fact.other(axis)
        own_at, other_at = (fact.a_at, fact.b_at) if axis == fact.a else (fact.b_at, fact.a_at)
        size = self._size(node, fact, axis, other)
        if size is not None and self.sizes.get(other, size) != size:
            for end in (axis, other):
                self._freeze(end, f"{node.title}: channels are folded into its free size in two ways")
            return
        if size is None:
            self._freeze(axis, f"{node.title} ties it to an axis of no fixed size ({other})", own_at)
            return
        first = np.arange(self.sizes[axis]) if own_at is None else own_at
        second = np.arange(size) if other_at is None else other_at
        if first.shape != second.shape:
            self._freeze(axis, f"{node.title} ties it to {other}, which has another size", own_at)
            return
        if size > _LARGE and other in self.reading.closed and other not in self.sizes:
            whole = fact.periods is not None  # such a tie names every position, in the millions where this is met
            self._freeze(axis, self.reading.closed[other], None if whole else own_at)
            return
        period = self.periods.get(axis) if own_at is None and other_at is None else fact.period(other)
        self._reach(other, size, period)
        ends = (axis, other, first, second) if axis == fact.a else (other, axis, second, first)
        self.applied_ties.append(AppliedTie(node.index, *ends, columns=fact.columns))


def _reader(fact: Count | Renumber, node: int) -> int:
    """Return the number of the node that reads a number."""
    return node if fact.node is None else fact.node


def _stride(fact: Tie) -> int:
    """Return how far apart neighbours of a factor lie on the axis that holds it with others."""
    return max(stride for stride, _ in fact.periods) if fact.periods else 0
