"""Concat: positions of the parts, one after the other."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through, span
from onnxprune.ops.facts import Fact, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("Concat")
def concat(node: NodeView) -> Iterator[Fact]:
    """Tie each part to its stretch of the joined axis; the other axes pass through."""
    y = node.output
    joined = node.attr("axis", 1) % y.rank
    offset = 0
    for part in node.inputs:
        if part is None:
            continue
        size = part.shape[joined]
        yield Tie(part.axis(joined), y.axis(joined), None, span(size, offset))
        yield from pass_through(part, y, (axis for axis in range(y.rank) if axis != joined))
        offset += size
