"""DepthToSpace and SpaceToDepth: channels become pixels and back, a block of b x b at a time."""

from collections.abc import Iterator

import numpy as np

from onnxprune.ops.common import span
from onnxprune.ops.facts import Fact, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("DepthToSpace")
def depth_to_space(node: NodeView) -> Iterator[Fact]:
    """Tie the b * b input channels that become one output channel (DCR: stride C / b / b; CRD: neighbours)."""
    x, y = node.input(0), node.output
    block = node.parts("blocksize") ** 2
    channels = y.shape[1]
    grouped = node.attr("mode", b"DCR") in (b"CRD", "CRD")
    target = np.repeat(span(channels), block) if grouped else span(channels * block) % channels
    yield Tie(x.axis(0), y.axis(0))
    yield Tie(x.axis(1), y.axis(1), span(channels * block), target)


@rule("SpaceToDepth")
def space_to_depth(node: NodeView) -> Iterator[Fact]:
    """Tie the b * b output channels that come from one input channel."""
    x, y = node.input(0), node.output
    channels = x.shape[1]
    yield Tie(x.axis(0), y.axis(0))
    yield Tie(x.axis(1), y.axis(1), span(y.shape[1]) % channels, span(y.shape[1]))
