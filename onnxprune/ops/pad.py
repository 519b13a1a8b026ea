"""Pad with a constant; a negative amount crops."""

from collections.abc import Iterator

from onnxprune.ops.common import span
from onnxprune.ops.facts import Count, Fact, Freeze, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand


@rule("Pad")
def pad(node: NodeView) -> Iterator[Fact]:
    """Tie the inner positions to the input; padded channels are channels of their own, and the amounts are counts."""
    x, y = node.input(0), node.output
    slot: int | str = "pads" if node.version < 11 else 1
    amounts = list(node.attr("pads", ())) if node.version < 11 else node.input(1).elements()
    axes = node.axes_argument(3, x.rank) or tuple(range(x.rank))
    padded = {axis: element for element, axis in enumerate(axes)}
    mode = node.attr("mode", b"constant")
    for axis in range(x.rank):
        element = padded.get(axis)
        before, after = (0, 0) if element is None else (amounts[element], amounts[element + len(axes)])
        if element is None or before == after == 0:
            yield Tie(x.axis(axis), y.axis(axis))
        elif before is None or after is None:
            for operand in (x, y):
                yield Freeze(operand.axis(axis), "is padded by an amount computed at run time")
        elif mode not in (b"constant", "constant"):
            for operand in (x, y):
                yield Freeze(operand.axis(axis), "is padded with copies of its own positions")
        else:
            yield from _padded(x, y, axis, (before, after), (slot, element, element + len(axes)))


def _padded(
    x: Operand, y: Operand, axis: int, amounts: tuple[int, int], place: tuple[int | str, int, int]
) -> Iterator[Fact]:
    """Yield the tie of the kept stretch and the counts of the two amounts.

    A positive amount counts padded output positions. A crop counts removed input positions, which a Count cannot
    express with its sign, so a cropped axis is frozen.
    """
    (before, after), (slot, first, last) = amounts, place
    if before < 0 or after < 0:
        for operand in (x, y):
            yield Freeze(operand.axis(axis), "is cropped by a negative Pad")
        return
    size = x.shape[axis]
    yield Tie(x.axis(axis), y.axis(axis), None, span(size, before))
    if before:
        yield Count(slot, first, y.axis(axis), span(before))
    if after:
        yield Count(slot, last, y.axis(axis), span(after, before + size))
