"""Resize and Upsample: an axis that keeps its size passes through."""

from collections.abc import Iterator

from onnxprune.ops.facts import Count, Fact, Freeze, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("Resize", "Upsample")
def resize(node: NodeView) -> Iterator[Fact]:
    """Tie axes of unchanged fixed size; where the target sizes are listed, theirs is a count."""
    x, y = node.input(0), node.output
    sizes = node.optional(3) if node.op == "Resize" else None
    axes = [axis % x.rank for axis in node.attr("axes", range(x.rank))]
    for axis in range(x.rank):
        if not x.is_static(axis) or not y.is_static(axis) or x.shape[axis] != y.shape[axis]:
            for operand in (x, y):
                yield Freeze(operand.axis(axis), "is resampled along this axis")
            continue
        yield Tie(x.axis(axis), y.axis(axis))
        if axis in axes and node.attr("keep_aspect_ratio_policy", b"stretch") not in (b"stretch", "stretch"):
            yield Freeze(y.axis(axis), "is resized in proportion to other axes")
        if sizes is not None and sizes.shape != (0,) and axis in axes:
            yield Count(3, axes.index(axis), y.axis(axis))
