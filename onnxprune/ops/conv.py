"""Conv in one, two or three dimensions (dense, grouped, depthwise, with or without a multiplier) and DeformConv.

x [N, C, ...], W [M, C / g, ...], b [M] -> y [N, M, ...]
"""

import math
from collections.abc import Iterator

import numpy as np

from onnxprune.ops.common import span
from onnxprune.ops.facts import Count, Fact, Freeze, Macs, Produces, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand


@rule("Conv")
def conv(node: NodeView) -> Iterator[Fact]:
    """Tie filters to output channels and kernels' slices to input channels, also where they are computed at run time.

    MACs: elements of W for every output position.
    """
    x, w, y = node.input(0), node.input(1), node.output
    yield from _layer(node, w, node.optional(2))
    for axis in range(2, x.rank):
        # Channels may lie here, as in a convolution over channel weights; a same-sized window slides over them.
        stride = node.attr("strides", [1] * (x.rank - 2))[axis - 2]
        if stride == 1 and x.is_static(axis) and x.shape[axis] == y.shape[axis] > 1:
            yield Tie(x.axis(axis), y.axis(axis))
            if w.shape[axis] > 1:
                yield Freeze(x.axis(axis), "convolves along this axis", approximate=True)


@rule("DeformConv")
def deform_conv(node: NodeView) -> Iterator[Fact]:
    """A convolution whose samples are displaced; equal columns of all offset groups go together.

    offset [N, 2 g' K, h, w], mask [N, g' K, h, w] with g' offset groups of C / g' channels each
    """
    x, w, offset, y = node.input(0), node.input(1), node.input(2), node.output
    yield from _layer(node, w, node.optional(3))
    channels = x.shape[1]
    shifted = node.parts("offset_group", channels, default=1)
    if shifted > 1:
        yield Tie(x.axis(1), x.axis(1), span(channels), span(channels) % (channels // shifted))
    for operand in (offset, node.optional(4)):
        if operand is not None:
            yield Tie(operand.axis(0), y.axis(0))
            yield Freeze(operand.axis(1), "says how its samples are displaced and weighed")


def _layer(node: NodeView, w: Operand, bias: Operand | None) -> Iterator[Fact]:
    """Yield what any convolution says of channels and batch.

    A depthwise layer (one input channel per group, more than one group) sums over nothing: its channels are tied
    through. A grouped one must keep equal groups, so equal columns of all groups live or die together, on each side;
    they can be put into another order first, see `analysis.blocks`.
    """
    x, y = node.input(0), node.output
    channels, filters = x.shape[1], w.shape[0]
    groups = node.parts("group", channels, filters, default=1)
    yield Produces(y.axis(1))
    yield Tie(w.axis(0), y.axis(1))
    if bias is not None:
        yield Tie(bias.axis(0), y.axis(1))
    outer = (y.axis(axis) for axis in range(y.rank) if axis != 1)
    yield Macs(math.prod(w.shape[2:]), (*outer, w.axis(0), w.axis(1)))
    if groups == 1:
        yield Tie(x.axis(1), w.axis(1))
        yield from (Sums(x.axis(1)), Sums(w.axis(1)))
    elif w.shape[1] == 1:
        yield Tie(x.axis(1), y.axis(1), np.repeat(span(channels), filters // channels), span(filters))
        yield Count("group", 0, x.axis(1))
    else:
        yield Tie(x.axis(1), w.axis(1), span(channels), span(channels) % w.shape[1], columns=True)
        yield from (Sums(x.axis(1)), Sums(w.axis(1)))
        yield Tie(y.axis(1), y.axis(1), span(filters), span(filters) % (filters // groups), columns=True)
    yield Tie(x.axis(0), y.axis(0))
