"""Local response normalisation: a window over neighbouring channels."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through
from onnxprune.ops.facts import Fact, Freeze
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("LRN")
def lrn(node: NodeView) -> Iterator[Fact]:
    """Every axis but the channels passes through; removing a channel would change its neighbours' windows."""
    x, y = node.input(0), node.output
    yield from pass_through(x, y, (axis for axis in range(x.rank) if axis != 1))
    for operand in (x, y):
        yield Freeze(operand.axis(1), "normalises over neighbouring channels", approximate=True)
