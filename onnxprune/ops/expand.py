"""Expand and Tile: copies along an axis."""

from collections.abc import Iterator

from onnxprune.ops.common import broadcast, span
from onnxprune.ops.facts import Count, Fact, Free, Freeze, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("Expand")
def expand(node: NodeView) -> Iterator[Fact]:
    """Tie what broadcasting lines up; the numbers of the target shape are counts.

    An axis along which one position is copied may lose copies: whatever its target number says, so wide it is.
    """
    x, target, y = node.input(0), node.input(1), node.output
    yield from broadcast(x, y)
    if target.value is None or target.fixed is None:
        for axis in range(y.rank):
            yield Freeze(y.axis(axis), "is expanded to a size computed at run time")
        return
    shift = y.rank - len(target.value.ravel())
    for element, (number, fixed) in enumerate(zip(target.value.ravel(), target.fixed.ravel(), strict=True)):
        if fixed and int(number) != 1:
            axis = element + shift
            yield Count(1, element, y.axis(axis))
            if axis < y.rank - x.rank or x.shape[axis - y.rank + x.rank] == 1:
                yield Free(y.axis(axis))


@rule("Tile")
def tile(node: NodeView) -> Iterator[Fact]:
    """Tie every copy to its source; the number of copies does not change.

    Where a single position is copied, copies may go: their number is a count.
    """
    x, repeats, y = node.input(0), node.input(1), node.output
    for axis in range(x.rank):
        if x.is_static(axis) and y.is_static(axis):
            size = x.shape[axis]
            copies = y.shape[axis] // size if size else 0
            if size == 1 and copies > 1 and repeats.value is not None:
                yield Count(1, axis, y.axis(axis))
                yield Free(x.axis(axis))
                yield Free(y.axis(axis))
            elif copies == 1:
                yield Tie(x.axis(axis), y.axis(axis))
            else:
                yield Tie(x.axis(axis), y.axis(axis), span(y.shape[axis]) % max(1, size), span(y.shape[axis]))
        else:
            for operand in (x, y):
                yield Freeze(operand.axis(axis), "is repeated along this axis")
