"""ConvTranspose, whose weight has the input channels first.

x [N, C, ...], W [C, M / g, ...], b [M] -> y [N, M, ...]
"""

import math
from collections.abc import Iterator

import numpy as np

from onnxprune.ops.common import span
from onnxprune.ops.facts import Count, Fact, Macs, Produces, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("ConvTranspose")
def conv_transpose(node: NodeView) -> Iterator[Fact]:
    """Tie weight rows to input channels and weight columns to output channels, group by group.

    MACs: elements of W for every input position.
    """
    x, w, y = node.input(0), node.input(1), node.output
    bias = node.optional(2)
    channels, filters, columns = x.shape[1], y.shape[1], w.shape[1]
    groups = node.parts("group", channels, filters, default=1)
    yield Produces(y.axis(1))
    if bias is not None:
        yield Tie(bias.axis(0), y.axis(1))
    yield Macs(math.prod(w.shape[2:]) * math.prod(x.shape[2:]) * x.shape[0], (w.axis(0), w.axis(1)))
    yield Tie(x.axis(1), w.axis(0))
    if groups == 1:
        yield Tie(w.axis(1), y.axis(1))
        yield from (Sums(x.axis(1)), Sums(w.axis(0)))
    elif channels == groups:
        yield Tie(x.axis(1), y.axis(1), np.repeat(span(channels), columns), span(filters))
        yield Count("group", 0, x.axis(1))
    else:
        yield Tie(y.axis(1), w.axis(1), span(filters), span(filters) % columns, columns=True)
        yield Tie(x.axis(1), x.axis(1), span(channels), span(channels) % (channels // groups), columns=True)
        yield from (Sums(x.axis(1)), Sums(w.axis(0)))
    yield Tie(x.axis(0), y.axis(0))
