"""Softmax and its kin: exact on every axis but their own."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through
from onnxprune.ops.facts import Fact, Freeze
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(node: NodeView) -> Iterator[Fact]:
    """Axes that are not normalised over pass through. Before opset 13 all axes from `axis` on are normalised over."""
    x, y = node.input(0), node.output
    if node.version >= 13:
        normalised = {node.attr("axis", -1) % x.rank}
    else:
        normalised = set(range(node.attr("axis", 1) % x.rank, x.rank))
    yield from pass_through(x, y)
    for axis in sorted(normalised):
        yield Freeze(x.axis(axis), "normalises over this axis", approximate=True)
