"""Slice: a stretch of some axes, or every so many positions of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnxprune.ops.common import span
from onnxprune.ops.facts import Count, Fact, Freeze, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand


@dataclass(frozen=True)
class _Bounds:
    """What is said of one axis, with the operands or attributes (and the element in them) that hold the bounds."""

    start: int
    stop: int
    step: int
    element: int
    slots: tuple[int | str, int | str]


@rule("Slice")
def slice_(node: NodeView) -> Iterator[Fact]:
    """Tie the chosen positions to the output. Bounds inside the axis are counts; one beyond its end stays as it is."""
    x, y = node.input(0), node.output
    bounds = _bounds(node, x.rank)
    for axis in range(x.rank):
        if axis not in bounds:
            yield Tie(x.axis(axis), y.axis(axis))
            continue
        said = bounds[axis]
        if said is None:
            yield from _frozen(x, y, axis, "is sliced at bounds computed at run time")
        elif said.step == 1:
            yield from _stretch(x, y, axis, said)
        else:
            yield from _steps(x, y, axis, said)


def _bounds(node: NodeView, rank: int) -> dict[int, _Bounds | None]:
    """Return the bounds of every sliced axis; None where they depend on free sizes or the data."""
    starts: Sequence[int | None]
    ends: Sequence[int | None]
    steps: Sequence[int | None]
    slots: tuple[int | str, int | str]
    if node.version < 10:
        starts, ends, slots = list(node.attr("starts")), list(node.attr("ends")), ("starts", "ends")
        axes = list(node.attr("axes", range(len(starts))))
        steps = [1] * len(starts)
    else:
        starts, ends, slots = node.input(1).elements(), node.input(2).elements(), (1, 2)
        given, by = node.optional(3), node.optional(4)
        axes = [int(axis) for axis in given.numbers()] if given else list(range(len(starts)))
        steps = by.elements() if by else [1] * len(starts)
    found: dict[int, _Bounds | None] = {}
    for element, (axis, start, stop, step) in enumerate(zip(axes, starts, ends, steps, strict=True)):
        known = start is not None and stop is not None and step is not None
        found[axis % rank] = _Bounds(start, stop, step, element, slots) if known else None  # type: ignore[arg-type]
    return found


def _frozen(x: Operand, y: Operand, axis: int, reason: str) -> Iterator[Fact]:
    for operand in (x, y):
        yield Freeze(operand.axis(axis), reason)


def _stretch(x: Operand, y: Operand, axis: int, said: _Bounds) -> Iterator[Fact]:
    size = x.shape[axis]
    first, last, _ = slice(said.start, said.stop).indices(size)
    last = max(first, last)
    yield Tie(x.axis(axis), y.axis(axis), span(last - first, first), None)
    if first != 0:
        yield Count(said.slots[0], said.element, x.axis(axis), span(first))
    if said.stop < size:
        yield Count(said.slots[1], said.element, x.axis(axis), span(last))


def _steps(x: Operand, y: Operand, axis: int, said: _Bounds) -> Iterator[Fact]:
    """Yield the facts of an axis of which every so many positions are chosen.

    The step stays, so whole blocks of positions, as long as a step, live or die together: those that the axis divides
    into where the start lies in the first of them (then it need not change), else those that begin at the start.
    Backwards only a whole axis is understood: it stays whole.
    """
    size, step = x.shape[axis], said.step
    first, last, _ = slice(said.start, said.stop, step).indices(size)
    chosen = span(size)[said.start : said.stop : step]
    if step == -1 and len(chosen) == size and (said.start == -1 or said.start >= size - 1):
        yield Tie(x.axis(axis), y.axis(axis), chosen, span(size))
        return
    if step < 0 or not x.is_static(axis):
        yield from _frozen(x, y, axis, f"is sliced with step {step}")
        return
    yield Tie(x.axis(axis), y.axis(axis), chosen, span(len(chosen)))
    origin = 0 if first < step and said.start >= 0 else first
    blocks = span(max(0, (size if origin == 0 else last) - origin), origin)
    yield Tie(x.axis(axis), x.axis(axis), blocks, (blocks - origin) // step * step + origin)
    if origin:
        yield Count(said.slots[0], said.element, x.axis(axis), span(first))
    if said.stop < size:
        yield Count(said.slots[1], said.element, x.axis(axis), span(max(first, last)))
