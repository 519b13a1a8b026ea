"""Slice: a stretch of some axes. On a cut axis the step has to be 1."""

from collections.abc import Iterator

from onnxprune.ops.common import span
from onnxprune.ops.facts import Count, Fact, Freeze, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand


@rule("Slice")
def slice_(node: NodeView) -> Iterator[Fact]:
    """Tie the chosen stretch to the output. Bounds inside the axis are counts; one beyond its end stays as it is."""
    x, y = node.input(0), node.output
    slots: tuple[int | str, int | str]
    if node.version < 10:
        starts, ends = list(node.attr("starts")), list(node.attr("ends"))
        axes = list(node.attr("axes", range(len(starts))))
        steps, slots = [1] * len(starts), ("starts", "ends")
    else:
        starts, ends = _numbers(node.input(1)), _numbers(node.input(2))
        given, by = node.optional(3), node.optional(4)
        axes = _numbers(given) if given else list(range(len(starts)))
        steps, slots = _numbers(by) if by else [1] * len(starts), (1, 2)
    sliced = {int(axis) % x.rank: element for element, axis in enumerate(axes)}
    for axis in range(x.rank):
        element = sliced.get(axis)
        if element is None:
            yield Tie(x.axis(axis), y.axis(axis))
        else:
            yield from _stretch(x, y, axis, element, (starts[element], ends[element], steps[element]), slots)


def _numbers(operand: Operand) -> list[int]:
    return [int(number) for number in operand.numbers()]


def _stretch(
    x: Operand, y: Operand, axis: int, element: int, bounds: tuple[int, int, int], slots: tuple[int | str, int | str]
) -> Iterator[Fact]:
    start, stop, step = bounds
    size = x.shape[axis]
    if step != 1:
        reason = f"is sliced with step {step}"
        yield Freeze(x.axis(axis), reason)
        yield Freeze(y.axis(axis), reason)
        return
    first, last, _ = slice(start, stop).indices(size)
    last = max(first, last)
    yield Tie(x.axis(axis), y.axis(axis), span(last - first, first), None)
    if first != 0:
        yield Count(slots[0], element, x.axis(axis), span(first))
    if stop < size:
        yield Count(slots[1], element, x.axis(axis), span(last))
