"""BatchNormalization kept as a node: one scale, shift, mean and variance per channel."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through
from onnxprune.ops.facts import Fact, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, RefusedError


@rule("BatchNormalization")
def batch_normalization(node: NodeView) -> Iterator[Fact]:
    """Tie the four vectors to the channels; every axis passes through."""
    x, y = node.input(0), node.output
    if node.extra_output_used() or node.attr("training_mode", 0):
        raise RefusedError("it runs in training mode; export the model for inference")
    yield from pass_through(x, y)
    for slot in range(1, 5):
        yield Tie(node.input(slot).axis(0), y.axis(1))
