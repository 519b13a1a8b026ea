"""Pooling, local and global: each channel by itself."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through
from onnxprune.ops.facts import Fact
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, RefusedError


@rule("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
def pool(node: NodeView) -> Iterator[Fact]:
    """Batch and channels pass through; the indices of MaxPool count across channels and are refused."""
    if node.extra_output_used():
        raise RefusedError("its Indices output counts positions across all channels")
    yield from pass_through(node.input(0), node.output, (0, 1))
