"""Branches: parts of a network that can be left out as a whole, so that sums or Concats have one operand less."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnxprune.values.axes import BoolArray

SUMS = frozenset({"Add", "Sum"})
"""Ops that end residual branches."""

CONCAT = "Concat"
"""The op that ends branches which bring channels of their own."""


@dataclass(frozen=True)
class Branch:
    """Nodes that work for one operand of a sum, or of Concats, and for nothing else.

    Attributes:
        name: the operand.
        joins: (node, input) of the sum, or of the Concats, that read it.
        nodes: numbers of the nodes that go with it, rising.
        layers: numbers of those that multiply by weights.
        groups: the channel groups that lie in it alone. The branch is left out where all of them lose all channels.
    """

    name: str
    joins: tuple[tuple[int, int], ...]
    nodes: tuple[int, ...]
    layers: tuple[int, ...]
    groups: tuple[str, ...]


def groups_of(branches: Iterable[Branch]) -> frozenset[str]:
    """Return the groups of all of some branches."""
    return frozenset(name for branch in branches for name in branch.groups)


def left_out(branches: Sequence[Branch], keep: Mapping[str, BoolArray]) -> tuple[Branch, ...]:
    """Return the branches none of whose channels is kept, given the keep masks by group, but none within another."""
    return outermost(branches, emptied(keep))


def outermost(branches: Sequence[Branch], gone: frozenset[str]) -> tuple[Branch, ...]:
    """Return the branches all of whose groups are `gone`; what lies within one of them goes with it."""
    found = [branch for branch in branches if gone.issuperset(branch.groups)] if gone else []
    inside = {node for branch in found for node in branch.nodes}
    return tuple(branch for branch in found if not all(node in inside for node, _ in branch.joins))


def emptied(keep: Mapping[str, BoolArray]) -> frozenset[str]:
    """Return the groups of which no channel is kept."""
    return frozenset(name for name, mask in keep.items() if not mask.any())


def unfit(branches: Sequence[Branch], gone: frozenset[str], operands: Mapping[int, int]) -> Iterator[str]:
    """Yield why the groups `gone` cannot all lose every channel; `operands` says how many a join has, by node."""
    removed = outermost(branches, gone)
    inside = {node for branch in removed for node in branch.nodes}
    for name in sorted(gone.difference(*(branch.groups for branch in removed))):
        yield f"group {name!r} would have no channel left, and is no branch that can be left out"
    for node, count in _taken(removed).items():
        if node not in inside and count >= operands[node]:
            yield f"node {node} would have no operand left"


def _taken(branches: Iterable[Branch]) -> dict[int, int]:
    taken: dict[int, int] = {}
    for branch in branches:
        for node, _ in branch.joins:
            taken[node] = taken.get(node, 0) + 1
    return taken
