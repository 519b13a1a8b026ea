"""An op rule of another package: QuickGelu of onnxruntime, x * sigmoid(alpha * x) of every element alone."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through
from onnxprune.ops.facts import Fact
from onnxprune.ops.view import NodeView


def quick_gelu(node: NodeView) -> Iterator[Fact]:
    """Tie every axis of the input to the same axis of the output."""
    yield from pass_through(node.input(0), node.output)
