"""Normalisations kept as one node: exact along the axes that they do not normalise over.

Over a cut axis removing a channel changes the mean and variance of those that stay, so such an axis is frozen as
`approximate`; where an inexact result is allowed it is cut together with its scale and shift.
"""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through, span
from onnxprune.ops.facts import Fact, Free, Freeze, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand, RefusedError

_REASON = "normalises over this axis"


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_normalization(node: NodeView) -> Iterator[Fact]:
    """Axes before `axis` pass through; those from it on are normalised over and carry scale and shift."""
    x, y = node.input(0), node.output
    if node.extra_output_used():
        raise RefusedError("its mean or deviation is used as well")
    first = node.attr("axis", -1) % x.rank
    yield from pass_through(x, y)
    for axis in range(first, x.rank):
        yield Freeze(x.axis(axis), _REASON, approximate=True)
        for slot in (1, 2):
            yield from _vector(node.optional(slot), y, axis)


def _vector(vector: Operand | None, y: Operand, axis: int) -> Iterator[Fact]:
    """Tie an axis of scale or shift, which line up with the last axes."""
    if vector is not None and axis - y.rank + vector.rank >= 0:
        yield Tie(vector.axis(axis - y.rank + vector.rank), y.axis(axis))


@rule("InstanceNormalization")
def instance_normalization(node: NodeView) -> Iterator[Fact]:
    """Every channel by itself: batch and channels pass through, with scale and shift."""
    x, y = node.input(0), node.output
    yield from pass_through(x, y, (0, 1))
    for slot in (1, 2):
        yield Tie(node.input(slot).axis(0), y.axis(1))
    for axis in range(2, x.rank):
        yield Tie(x.axis(axis), y.axis(axis))
        yield Freeze(x.axis(axis), _REASON, approximate=True)


@rule("GroupNormalization")
def group_normalization(node: NodeView) -> Iterator[Fact]:
    """Channels are normalised over within groups, which stay equally wide: equal columns go together.

    Scale and shift have one entry per channel from opset 21 on, one per group before.
    """
    x, y = node.input(0), node.output
    channels = x.shape[1]
    columns = span(channels) % max(1, channels // node.attr("num_groups"))
    yield from pass_through(x, y)
    yield Tie(x.axis(1), x.axis(1), span(channels), columns)
    for slot in (1, 2):
        vector = node.input(slot)
        yield Tie(vector.axis(0), y.axis(1)) if vector.shape[0] == channels else Free(vector.axis(0))
    for axis in range(1, x.rank):
        yield Freeze(x.axis(axis), _REASON, approximate=True)


@rule("MeanVarianceNormalization")
def mean_variance_normalization(node: NodeView) -> Iterator[Fact]:
    """Axes other than `axes` (by default batch and space) pass through."""
    x, y = node.input(0), node.output
    yield from pass_through(x, y)
    for axis in sorted({axis % x.rank for axis in node.attr("axes", (0, 2, 3))}):
        yield Freeze(x.axis(axis), _REASON, approximate=True)


@rule("LpNormalization")
def lp_normalization(node: NodeView) -> Iterator[Fact]:
    """Every axis passes through: the norm is a sum, to which a channel of zeros adds nothing."""
    x = node.input(0)
    yield from pass_through(x, node.output)
    yield Sums(x.axis(node.attr("axis", -1)))
