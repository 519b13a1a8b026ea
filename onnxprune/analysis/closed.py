"""Axes that cannot be cut, whatever is chosen: told from the facts alone, before anything is labelled.

An axis is closed where every position of it is frozen or tied to a closed axis, or where a node lets it through by one
of several factors and each of them leads to a closed axis.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from onnxprune.analysis.interface import may_be_state
from onnxprune.analysis.reading import NOT_LET_THROUGH, Reading, met
from onnxprune.ops.facts import Freeze, Tie
from onnxprune.values.axes import Axis, BoolArray, IntArray, Ref


def with_closed_axes(reading: Reading, *, approximate: bool, interface: bool = False) -> Reading:
    """Return the reading with its closed axes.

    With `approximate`, what an inexact result would lift closes nothing; with `interface`, no input and output does
    that may be an end of a state.
    """
    under = frozenset(
        fact.under
        for fact, _ in reading.every
        if isinstance(fact, Freeze) and fact.under and not (approximate and fact.approximate)
    )
    closed = _closed(reading, under, approximate=approximate, interface=interface)
    choices = reading.alternatives.values()
    ending = {tie for ties in choices for tie in ties if tie.a in closed or tie.b in closed}
    return replace(reading, closed=closed, dead=under | ending)


def dead_ends(reading: Reading) -> tuple[frozenset[Tie], frozenset[Tie]]:
    """Return the ties by which nothing can be cut: alternatives that others are better than, and what nothing betters.

    The latter are alternatives of which all end at closed axes, and ties between two closed uses of one weight.
    """
    shared = {tie for ties in reading.shared.values() for tie in ties if {tie.a, tie.b} <= reading.closed.keys()}
    choices = reading.alternatives.values()
    bettered = {tie for ties in choices if not reading.dead.issuperset(ties) for tie in ties} & reading.dead
    return frozenset(bettered), (reading.dead - bettered) | shared


def _closed(reading: Reading, frozen: frozenset[Tie], *, approximate: bool, interface: bool) -> Mapping[Axis, str]:
    """Follow the ties backwards from all that is frozen; return the closed axes with what closes them.

    `frozen` are alternatives by which nothing can be cut.
    """
    behind = _leading_to(reading)
    exclusive: dict[Axis, list[tuple[int, Tie]]] = {}
    open_ways = {}
    for (node, axis), ties in reading.alternatives.items():
        open_ways[node, axis] = set(ties) - frozen
        for tie in ties:
            exclusive.setdefault(tie.other(axis), []).append((node, tie))
    open_positions: dict[Axis, BoolArray] = {}

    def is_closed_by(axis: Axis, at: IntArray | None) -> bool:
        size = reading.static.get(axis)
        if at is None or size is None:
            return at is None
        still_open = open_positions.setdefault(axis, np.ones(size, dtype=bool))
        still_open[at] = False
        return not still_open.any()

    closed: dict[Axis, str] = {}
    first = _frozen(reading, approximate=approximate, interface=interface)
    queue = [(axis, why) for axis, at, why in first if is_closed_by(axis, at)]
    while queue:
        axis, why = queue.pop()
        if axis in closed:
            continue
        closed[axis] = why
        queue += [(other, why) for other, at in behind.get(axis, ()) if other not in closed and is_closed_by(other, at)]
        for node, tie in exclusive.get(axis, ()):
            other = tie.other(axis)
            open_ways[node, other].discard(tie)
            if not open_ways[node, other]:
                queue.append((other, why))
    return closed


def _leading_to(reading: Reading) -> Mapping[Axis, list[tuple[Axis, IntArray | None]]]:
    """Return by axis those that are tied to it without an alternative, and by which of their positions."""
    found: dict[Axis, list[tuple[Axis, IntArray | None]]] = {}
    for fact, _ in reading.every:
        if isinstance(fact, Tie) and not fact.exclusive and fact.a != fact.b:
            found.setdefault(fact.b, []).append((fact.a, fact.a_at))
            found.setdefault(fact.a, []).append((fact.b, fact.b_at))
    return found


def _frozen(reading: Reading, *, approximate: bool, interface: bool) -> Iterator[tuple[Axis, IntArray | None, str]]:
    """Yield the positions of axes (None: all) that a node, or the interface of the graph, freezes, and why."""
    graph = reading.graph
    for fact, number in reading.every:
        if isinstance(fact, Freeze) and not fact.under and not (approximate and fact.approximate):
            yield fact.axis, fact.at, met(graph.nodes[number], fact.reason)
    unspoken = {
        name: f"{graph.nodes[number].title}: {why}"
        for number, why in reading.refused.items()
        for name in (*graph.nodes[number].inputs, *graph.nodes[number].outputs)
    }
    yield from _unlet(reading)
    for axis in reading.static:
        name = axis.ref.name
        if name in unspoken:
            yield axis, None, unspoken[name]
        elif interface and not axis.ref.is_use and may_be_state(graph, name):
            continue
        elif name in graph.inputs or (name in graph.outputs and not axis.ref.is_use and axis != reading.head):
            yield axis, None, f"is part of the graph {'input' if name in graph.inputs else 'output'} {name!r}"


def _unlet(reading: Reading) -> Iterator[tuple[Axis, None, str]]:
    """Yield the axes that a node reads or makes and has nothing to say of."""
    axes: dict[Ref, list[Axis]] = {}
    for axis in reading.static:
        axes.setdefault(axis.ref, []).append(axis)
    for number, facts in reading.facts.items():
        if number in reading.refused:
            continue
        node = reading.graph.nodes[number]
        refs = [Ref(name, number, slot) for slot, name in enumerate(node.inputs)]
        for ref in (*refs, *map(Ref, (*node.inputs, *node.outputs))):
            for axis in axes.get(ref, ()):
                if axis not in facts:
                    yield axis, None, f"{node.title}: {NOT_LET_THROUGH}"
