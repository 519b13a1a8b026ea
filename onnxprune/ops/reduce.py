"""Reductions: over other axes channels pass through; over the channels only plain sums are exact."""

from collections.abc import Iterator

from onnxprune.ops.facts import Fact, Free, Freeze, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView

# A channel of zeros adds nothing to these, so removing it changes nothing.
_SUMS = ("ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2")
_OTHERS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp")


@rule(*_SUMS, *_OTHERS, "ArgMax", "ArgMin")
def reduce(node: NodeView) -> Iterator[Fact]:
    """Tie the axes that stay. A reduced axis is summed, or frozen where removing is not the same as zeroing."""
    x, y = node.input(0), node.output
    keepdims = bool(node.attr("keepdims", 1))
    reduced = _reduced_axes(node, x.rank)
    target = 0
    for axis in range(x.rank):
        if axis not in reduced:
            yield Tie(x.axis(axis), y.axis(target))
            target += 1
            continue
        if node.op in _SUMS:
            yield Sums(x.axis(axis))
        else:
            inexact = node.op not in ("ArgMax", "ArgMin")  # a position's number means another one after a cut
            yield Freeze(x.axis(axis), "reduces over this axis in a way that depends on its width", inexact)
        if keepdims:
            yield Free(y.axis(target))
            target += 1


def _reduced_axes(node: NodeView, rank: int) -> set[int]:
    if node.op in ("ArgMax", "ArgMin"):
        return {node.attr("axis", 0) % rank}
    axes = node.axes_argument(1, rank)
    if axes:
        return set(axes)
    return set() if node.attr("noop_with_empty_axes", 0) else set(range(rank))
