"""Pooling, local and global: each channel by itself."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through
from onnxprune.ops.facts import Fact
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, RefusedError


@rule("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
def pool(node: NodeView) -> Iterator[Fact]:
    """Batch and channels pass through.

    Indices count across channels, so that only MaxUnpool may read them, or what compares them within a channel.
    """
    if node.extra_output_used(but_by="MaxUnpool") and not node.places_within_channels():
        raise RefusedError("its Indices output counts positions across all channels")
    for output in node.outputs:
        if output is not None:
            yield from pass_through(node.input(0), output, (0, 1))


@rule("MaxUnpool")
def max_unpool(node: NodeView) -> Iterator[Fact]:
    """Batch and channels pass through, together with those of the indices, which MaxPool counts anew after a cut.

    So the indices must come straight from there: a constant would still count as before.
    """
    x, indices, y = node.input(0), node.input(1), node.output
    if indices.is_constant:
        raise RefusedError("its indices are constants that count positions across all channels")
    for operand in (x, indices):
        yield from pass_through(operand, y, (0, 1))
