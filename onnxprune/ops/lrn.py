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
    yield from pass_through(x, y)
    yield Freeze(x.axis(1), "normalises over neighbouring channels", approximate=True)
