"""MatMul by numpy's rules for ranks and batch axes: a layer (one constant factor) or a product of two activations."""

from collections.abc import Iterator

from onnxprune.ops.common import batch_axes
from onnxprune.ops.facts import Fact, Macs, Produces, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand


@rule("MatMul")
def matmul(node: NodeView) -> Iterator[Fact]:
    """Tie rows of the left factor and columns of the right one to the output, and the summed axes to each other.

    A product of two activations (Q K', softmax V) makes no channels of its own: it hands on those of its factors.
    MACs: one for every output element and summed position.
    """
    a, b, y = node.input(0), node.input(1), node.output
    inner_b = b.axis(-2 if b.rank > 1 else 0)
    yield Tie(a.axis(-1), inner_b)
    yield Sums(a.axis(-1))
    yield Sums(inner_b)
    if a.rank > 1:
        yield Tie(a.axis(-2), y.axis(-2 if b.rank > 1 else -1))
    if b.rank > 1:
        yield Tie(b.axis(-1), y.axis(-1))
    for factor in (a, b):
        yield from batch_axes(factor, y, max(a.rank, b.rank))
    if b.is_constant and b.rank > 1:
        yield Produces(y.axis(-1))
    elif a.is_constant and a.rank > 1:
        yield Produces(y.axis(-2 if b.rank > 1 else -1))
    yield from _cost(a, b, y)


def _cost(a: Operand, b: Operand, y: Operand) -> Iterator[Fact]:
    """Count with the constant's axes where there is one, so that a layer's cost follows its weight."""
    if b.is_constant and b.rank > 1:
        made = y.axis(-1)
        vectors = tuple(y.axis(axis) for axis in range(y.rank) if axis != made.dim)
        yield Macs(1.0, (*vectors, b.axis(-2), b.axis(-1)))
    elif a.is_constant and a.rank > 1:
        made = y.axis(-2 if b.rank > 1 else -1)
        vectors = tuple(y.axis(axis) for axis in range(y.rank) if axis != made.dim)
        yield Macs(1.0, (*vectors, a.axis(-2), a.axis(-1)))
    elif not (a.is_constant or b.is_constant):
        yield Macs(1.0, (*(y.axis(axis) for axis in range(y.rank)), a.axis(-1)))
