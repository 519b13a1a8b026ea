"""Normalisations kept as one node: exact along the axes that they do not normalise over.

Over a cut axis removing a channel changes the mean and variance of those that stay, so such an axis is frozen as
`approximate`; where an inexact result is allowed it is cut together with its scale and shift.
"""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through, span
from onnxprune.ops.facts import Count, Fact, Free, Freeze, Sums, Tie
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
    """Channels are normalised over within groups: whole groups go exactly, or equal columns of all groups inexactly.

    Scale and shift have one entry per channel from opset 21 on. Before, they had one per group; then, as where there is
    one group alone, only columns go.
    """
    x, y = node.input(0), node.output
    channels = x.shape[1]
    groups = node.parts("num_groups", channels)
    width = channels // groups
    yield from pass_through(x, y)
    vectors = [node.input(slot) for slot in (1, 2)]
    by_channel = all(vector.shape[0] == channels for vector in vectors)
    for vector in vectors:
        yield Tie(vector.axis(0), y.axis(1)) if by_channel else Free(vector.axis(0))
    for axis in range(2, x.rank):
        yield Freeze(x.axis(axis), _REASON, approximate=True)
    own, every = x.axis(1), span(channels)
    if width == 1 and by_channel:
        yield Count("num_groups", 0, own)
        return
    may_choose = groups > 1 and by_channel
    whole = Tie(own, own, every, every // width * width, exclusive=True, periods=((width, groups),) * 2)
    columns = Tie(own, own, every, every % width, exclusive=may_choose, periods=((1, width),) * 2)
    if may_choose:
        yield whole
        yield Count("num_groups", 0, own, every[::width], under=whole)
    yield columns
    yield Freeze(own, _REASON, approximate=True, under=columns if may_choose else None)


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
