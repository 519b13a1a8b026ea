"""What the op rules say of every node of a graph, read once, before anything is labelled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from onnxprune.analysis.sharing import shared_weights
from onnxprune.graph.model import Graph, Node
from onnxprune.ops.facts import Cycle, Fact, Free, Freeze, Produces, Sums, Tie
from onnxprune.ops.rules import RULES
from onnxprune.ops.view import NodeView, RefusedError
from onnxprune.values.axes import Axis


@dataclass(frozen=True, eq=False)
class Reading:
    """What the op rules say of every node of a graph, read once.

    Attributes:
        facts: by node number, the facts that speak of each axis.
        every: all facts with their node numbers, in node order.
        refused: why a node has no facts.
        static: the fixed size of every axis of every operand, or None.
        shared: the ties between the uses of a weight that several layers share, by axis.
        head: the axis of a graph output that may be cut all the same: the classes of a classifier.
        closed: the axes of which nothing can be cut, whichever alternatives are taken, and why; see `closed`.
        dead: the alternatives by which nothing can be cut.
    """

    graph: Graph
    facts: Mapping[int, Mapping[Axis, list[Fact]]]
    every: tuple[tuple[Fact, int], ...]
    refused: Mapping[int, str]
    static: Mapping[Axis, int | None]
    shared: Mapping[Axis, tuple[Tie, ...]]
    head: Axis | None = None
    closed: Mapping[Axis, str] = field(default_factory=dict)
    dead: frozenset[Tie] = frozenset()

    @cached_property
    def alternatives(self) -> Mapping[tuple[int, Axis], list[Tie]]:
        """The exclusive ties by node and axis."""
        found: dict[tuple[int, Axis], list[Tie]] = {}
        for fact, node in self.every:
            if isinstance(fact, Tie) and fact.exclusive:
                for axis in {fact.a, fact.b}:
                    found.setdefault((node, axis), []).append(fact)
        return found


def read_facts(graph: Graph, head: Axis | None = None) -> Reading:
    """Ask the rules for their facts, `head` being an axis of an output that is not frozen for that.

    Nodes that only compute constants or sizes are left out.
    """
    facts: dict[int, dict[Axis, list[Fact]]] = {}
    every: list[tuple[Fact, int]] = []
    refused: dict[int, str] = {}
    static: dict[Axis, int | None] = {}
    for node in graph.nodes:
        if graph.is_folded(node):
            continue
        view = NodeView(graph, node)
        for operand in view:
            for dim, size in enumerate(operand.shapes[0] if operand.shapes else ()):
                static[Axis(operand.ref, dim)] = size if operand.is_static(dim) else None
        found = facts.setdefault(node.index, {})
        rule = RULES.get(node.kind)
        if rule is None:
            refused[node.index] = _unspoken(graph, node)
            continue
        try:
            said = list(rule(view))
        except RefusedError as refusal:
            refused[node.index] = str(refusal)
            continue
        if any(isinstance(fact, Produces) and static.get(fact.axis) is None for fact in said):
            refused[node.index] = "how many channels it makes is not fixed"
            continue
        for fact in said:
            every.append((fact, node.index))
            for axis in _axes_of(fact):
                reader = facts.setdefault(axis.ref.node, {}) if axis.ref.is_use else found
                reader.setdefault(axis, []).append(fact)
    return Reading(graph, facts, tuple(every), refused, static, shared_weights(graph, every), head)


def _unspoken(graph: Graph, node: Node) -> str:
    """Return why no rule speaks of a node."""
    if node.kind in RULES.broken:
        return f"its rule cannot be used: {RULES.broken[node.kind]}"
    if (node.domain, node.op) in {(function.domain, function.name) for function in graph.model.functions}:
        return "call of a local function"
    if node.domain:
        return "op of a custom domain"
    return "what its subgraph makes of it is left alone" if node.has_subgraph else "op is not supported yet"


NOT_LET_THROUGH = "this axis is not one that it lets through"
"""Why an axis is frozen that a rule says nothing of."""

_BY_THE_NODE = ("convolves", "counts", "looks", "normalises", "reduces")


def met(node: Node, reason: str) -> str:
    """Say which node freezes an axis, to be read on after "meets"; a reason's subject is the axis, or the node."""
    return f"{node.title}, {'which' if reason.startswith(_BY_THE_NODE) else 'where it'} {reason}"


def _axes_of(fact: Fact) -> tuple[Axis, ...]:
    if isinstance(fact, Tie):
        return (fact.a,) if fact.a == fact.b else (fact.a, fact.b)
    if isinstance(fact, Free | Freeze | Sums | Cycle):
        return (fact.axis,)
    return ()
