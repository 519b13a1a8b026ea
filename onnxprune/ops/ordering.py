"""Ops that order, select or number the positions of an axis: that axis stays, the others pass through."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through
from onnxprune.ops.facts import Fact, Freeze, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand, RefusedError


def _except(node: NodeView, axis: int, reason: str) -> Iterator[Fact]:
    """Let all axes but one pass into every output, and freeze that one."""
    x = node.input(0)
    outputs = [output for output in node.outputs if output is not None]
    for output in outputs:
        yield from pass_through(x, output, (other for other in range(x.rank) if other != axis))
    yield from (Freeze(operand.axis(axis), reason) for operand in (x, *outputs))


@rule("TopK")
def top_k(node: NodeView) -> Iterator[Fact]:
    """The largest along one axis, whichever they are."""
    yield from _except(node, node.attr("axis", -1) % node.input(0).rank, "is ranked, and its largest are kept")


@rule("CumProd")
def cumulative_product(node: NodeView) -> Iterator[Fact]:
    """Running products along one axis: a position of zeros would not leave them as they are."""
    axis = int(node.input(1).numbers()[0]) % node.input(0).rank
    yield from _except(node, axis, "is multiplied up along this axis")


@rule("CumSum")
def cumulative_sum(node: NodeView) -> Iterator[Fact]:
    """Running sums along one axis: a position of zeros leaves the others as they are, so all axes pass through."""
    x = node.input(0)
    yield from pass_through(x, node.output)
    yield Sums(x.axis(int(node.input(1).numbers()[0]) % x.rank))


@rule("ReverseSequence")
def reverse_sequence(node: NodeView) -> Iterator[Fact]:
    """Sequences of different lengths, reversed each by itself."""
    x, lengths = node.input(0), node.input(1)
    yield Tie(lengths.axis(0), x.axis(node.attr("batch_axis", 1)))
    yield from _except(node, node.attr("time_axis", 0) % x.rank, "is reversed up to a length")


@rule("Compress")
def compress(node: NodeView) -> Iterator[Fact]:
    """Positions picked by a condition along one axis, or of the flattened tensor."""
    axis = node.attr("axis")
    if axis is None:
        raise RefusedError("it picks positions of the flattened tensor")
    yield from _except(node, axis % node.input(0).rank, "is picked by a condition")


@rule("OneHot")
def one_hot(node: NodeView) -> Iterator[Fact]:
    """The axes of the numbers pass through, around the new axis that they are spread along."""
    numbers, y = node.input(0), node.output
    new = node.attr("axis", -1) % y.rank
    for axis in range(numbers.rank):
        yield Tie(numbers.axis(axis), y.axis(axis + (axis >= new)))
    yield Freeze(y.axis(new), "is what numbers stand for")


@rule("Trilu")
def trilu(node: NodeView) -> Iterator[Fact]:
    """The last two axes form matrices whose diagonal a cut would move; the others pass through."""
    x, y = node.input(0), node.output
    yield from pass_through(x, y, range(x.rank - 2))
    yield from _frozen((x, y), "is cut along a diagonal", (-2, -1))


@rule("Det")
def determinant(node: NodeView) -> Iterator[Fact]:
    """The last two axes form matrices; the others pass through."""
    x, y = node.input(0), node.output
    yield from (Tie(x.axis(axis), y.axis(axis)) for axis in range(y.rank))
    yield from _frozen((x,), "is part of a determinant", (-2, -1))


@rule("NonZero", "Unique", "NonMaxSuppression")
def found(node: NodeView) -> Iterator[Fact]:
    """What is found depends on the data, and says where by number."""
    operands = [operand for operand in node if operand.shapes is not None]
    for operand in operands:
        yield from _frozen((operand,), "is searched, and what is found is numbered", range(operand.rank))


def _frozen(operands: tuple[Operand, ...], reason: str, axes: "range | tuple[int, ...]") -> Iterator[Fact]:
    yield from (Freeze(operand.axis(axis), reason) for operand in operands for axis in axes)
