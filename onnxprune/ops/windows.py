"""Ops that put windows together or cut out the middle: Col2Im, CenterCropPad."""

import math
from collections.abc import Iterator

from onnxprune.ops.common import span
from onnxprune.ops.facts import Fact, Freeze, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("Col2Im")
def col2im(node: NodeView) -> Iterator[Fact]:
    """Tie the rows of a channel's window to that channel. x [N, C * K, L] -> y [N, C, ...] with K places per window."""
    x, y = node.input(0), node.output
    window = math.prod(int(size) for size in node.input(2).numbers())
    yield Tie(x.axis(0), y.axis(0))
    yield Tie(x.axis(1), y.axis(1), span(x.shape[1]), span(x.shape[1]) // window)
    yield Freeze(x.axis(2), "numbers the windows")


@rule("CenterCropPad")
def center_crop_pad(node: NodeView) -> Iterator[Fact]:
    """Axes that are not named pass through."""
    x, y = node.input(0), node.output
    named = {axis % x.rank for axis in node.attr("axes", range(x.rank))}
    for axis in range(x.rank):
        if axis not in named:
            yield Tie(x.axis(axis), y.axis(axis))
        else:
            for operand in (x, y):
                yield Freeze(operand.axis(axis), "is cropped or padded on both sides")
