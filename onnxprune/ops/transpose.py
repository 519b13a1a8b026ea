"""Transpose: axes in another order."""

from collections.abc import Iterator

from onnxprune.ops.facts import Fact, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("Transpose")
def transpose(node: NodeView) -> Iterator[Fact]:
    """Tie axis `perm[i]` of the input to axis i of the output."""
    x, y = node.input(0), node.output
    perm = node.attr("perm") or tuple(reversed(range(x.rank)))
    for target, source in enumerate(perm):
        yield Tie(x.axis(source), y.axis(target))
