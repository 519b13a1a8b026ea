"""Branches that can be left out: the operands of residual sums and of Concats.

A branch is what only one tensor needs, which a sum or Concats read. Where each of its layers has channels of its own,
which no other part of the network shares, the branch costs nothing once they are gone. The operand of a sum behind
which the fewest layers work is the shortcut, be it the stream itself, a projection or a padded copy; it stays. Of a
Concat every operand may be a branch; its channels are then lost to all that read the Concat.
"""

from collections.abc import Iterator, Mapping, Sequence, Set

from onnxprune.analysis.labels import Labelled
from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.branches import CONCAT, SUMS, Branch
from onnxprune.values.groups import ChannelGroup

Layers = Mapping[int, frozenset[Axis]]
"""By node with multiply-adds the axes that these hang on."""


def find_branches(graph: Graph, labelled: Labelled, groups: Sequence[ChannelGroup]) -> tuple[Branch, ...]:
    """Return the branches of a graph whose channel groups are known, in graph order.

    Nothing in a branch is a graph output, read inside a subgraph, or tied to channels elsewhere.
    """
    layers = _layers(graph, labelled)
    free = [group for group in groups if group.prunable]
    found: dict[str, Branch] = {}
    for join in graph.nodes:
        if join.kind in SUMS:
            found.update((branch.name, branch) for branch in _of_sum(graph, join, layers, free))
        elif join.kind == CONCAT:
            for name in join.inputs:
                if name not in found:
                    found.update((branch.name, branch) for branch in _of_concats(graph, name, layers, free))
    smallest: dict[frozenset[str], Branch] = {}
    for branch in sorted(found.values(), key=lambda branch: len(branch.nodes)):
        smallest.setdefault(frozenset(branch.groups), branch)  # with the same channels the inner one is meant
    return tuple(branch for branch in found.values() if smallest[frozenset(branch.groups)] is branch)


def _layers(graph: Graph, labelled: Labelled) -> Layers:
    axes: dict[int, frozenset[Axis]] = {}
    for fact, node in labelled.macs:
        if not graph.is_folded(graph.nodes[node]):
            axes[node] = axes.get(node, frozenset()).union(fact.axes)
    return axes


def _of_sum(graph: Graph, join: Node, layers: Layers, free: Sequence[ChannelGroup]) -> Iterator[Branch]:
    """Yield the operands of a sum that may go: all but the shortcut, where nothing is broadcast."""
    shapes = [graph.facts.shape_pair(name) for name in (*join.inputs, *join.outputs)]
    computed = [slot for slot, name in enumerate(join.inputs) if not graph.is_leaf(name)]
    if len(computed) < max(2, len(join.inputs)) or shapes[0] is None or any(shape != shapes[0] for shape in shapes):
        return
    read_here = [slot for slot in computed if _read_by(graph, join.inputs[slot]) == (join,)]
    parts = {slot: _working_for(graph, join.inputs[slot]) for slot in read_here}
    depth = {slot: sum(number in layers for number in parts.get(slot, ())) for slot in computed}
    shortcut = min(computed, key=lambda slot: (depth[slot], -slot))
    for slot in read_here:
        if slot != shortcut:
            own = [group for group in free if _inside(graph, group, parts[slot])]
            yield from _branch(join.inputs[slot], ((join.index, slot),), parts[slot], layers, own)


def _of_concats(graph: Graph, operand: str, layers: Layers, free: Sequence[ChannelGroup]) -> Iterator[Branch]:
    """Yield a tensor that only Concats read, and that brings channels of its own to them."""
    readers = _read_by(graph, operand)
    pair = graph.facts.shape_pair(operand)
    if pair is None or not readers or any(reader.kind != CONCAT or len(reader.inputs) < 2 for reader in readers):
        return
    axes = {reader.attrs["axis"] % len(pair[0]) for reader in readers}
    part = _working_for(graph, operand)
    inside = [group for group in free if _inside(graph, group, part)]
    leaving = [group for group in free if group not in inside and _made_in(graph, group, part)]
    brought = {
        position
        for group in leaving
        for member in group.members
        if member.axis == Axis(Ref(operand), min(axes))
        for position in member.positions.ravel().tolist()
    }
    if len(axes) == 1 and len(brought) == pair[0][min(axes)]:  # else something of it would have to stay
        joins = tuple((reader.index, reader.inputs.index(operand)) for reader in readers)
        yield from _branch(operand, joins, part, layers, [*inside, *leaving])


def _branch(
    name: str,
    joins: tuple[tuple[int, int], ...],
    part: frozenset[int],
    layers: Layers,
    own: Sequence[ChannelGroup],
) -> Iterator[Branch]:
    """Yield the branch of an operand, if every layer in it hangs on a group of its own."""
    inner = tuple(sorted(number for number in part if number in layers))
    reached = {member.axis for group in own for member in group.members}
    if inner and all(not reached.isdisjoint(layers[number]) for number in inner):
        yield Branch(name, joins, tuple(sorted(part)), inner, tuple(group.name for group in own))


def _read_by(graph: Graph, operand: str) -> tuple[Node, ...]:
    """Return the nodes that read a tensor; nothing where it is read in another way than as one input of each."""
    readers = graph.readers.get(operand, ())
    if operand in graph.outputs or any(reader.inputs.count(operand) != 1 for reader in readers):
        return ()
    return () if any(operand in reader.captured for reader in readers) else readers


def _working_for(graph: Graph, operand: str) -> frozenset[int]:
    """Return the numbers of the nodes whose results reach the outputs of the graph through one tensor alone."""
    found: set[int] = set()
    waiting = [operand]
    while waiting:
        node = graph.producers.get(waiting.pop())
        if node is not None and node.index not in found and _works_alone(graph, node, operand, found):
            found.add(node.index)
            waiting += [name for name in node.inputs if name]
    return frozenset(found)


def _works_alone(graph: Graph, node: Node, operand: str, found: set[int]) -> bool:
    """Whether all that a node makes is `operand` itself, or read by the nodes `found` alone."""
    if node.has_subgraph:
        return False
    return all(
        name not in graph.outputs
        and name in graph.readers
        and all(reader.index in found and name not in reader.captured for reader in graph.readers[name])
        for name in node.outputs
        if name and name != operand
    )


def _inside(graph: Graph, group: ChannelGroup, part: frozenset[int]) -> bool:
    """Whether all that a group reaches lies in a part of the graph."""
    return all(lies_in(graph, member.axis.ref, part) for member in group.members)


def _made_in(graph: Graph, group: ChannelGroup, part: frozenset[int]) -> bool:
    """Whether the layers that make a group's channels lie in a part of the graph, wherever these are read."""
    return all(lies_in(graph, member.axis.ref, part) for member in group.members if member.role == "produces")


def lies_in(graph: Graph, ref: Ref, part: Set[int]) -> bool:
    """Whether a tensor is made by one of the nodes `part`, or a constant used by one."""
    if ref.is_use:
        return ref.node in part
    maker = graph.producers.get(ref.name)
    return maker is not None and maker.index in part
