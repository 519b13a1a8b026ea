"""Split: stretches of one axis become tensors of their own."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through, span
from onnxprune.ops.facts import Count, Fact, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("Split")
def split(node: NodeView) -> Iterator[Fact]:
    """Tie each output to its stretch; the sizes (attribute before opset 13, then an input) are counts."""
    x = node.input(0)
    divided = node.attr("axis", 0) % x.rank
    slot: int | str = "split" if node.version < 13 else 1
    offset = 0
    for element, part in enumerate(node.outputs):
        if part is None:
            continue
        size = part.shape[divided]
        yield Tie(x.axis(divided), part.axis(divided), span(size, offset), None)
        yield from pass_through(x, part, (axis for axis in range(x.rank) if axis != divided))
        yield Count(slot, element, part.axis(divided))
        offset += size
