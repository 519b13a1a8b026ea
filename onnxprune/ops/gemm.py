"""Gemm: y = alpha A' B' + beta C, with A' [M, K] and B' [K, N] after the optional transpositions."""

from collections.abc import Iterator

from onnxprune.ops.common import broadcast
from onnxprune.ops.facts import Fact, Macs, Produces, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("Gemm")
def gemm(node: NodeView) -> Iterator[Fact]:
    """Tie the columns of B' to the output and its rows to the columns of A'. MACs: M K N.

    A product of two activations makes no channels of its own.
    """
    a, b, y = node.input(0), node.input(1), node.output
    a_rows, a_columns = (1, 0) if node.attr("transA", 0) else (0, 1)
    b_rows, b_columns = (1, 0) if node.attr("transB", 0) else (0, 1)
    if b.is_constant:
        yield Produces(y.axis(1))
    elif a.is_constant:
        yield Produces(y.axis(0))
    yield Tie(a.axis(a_rows), y.axis(0))
    yield Tie(b.axis(b_columns), y.axis(1))
    yield Tie(a.axis(a_columns), b.axis(b_rows))
    yield Sums(a.axis(a_columns))
    yield Sums(b.axis(b_rows))
    if b.is_constant:
        yield Macs(1.0, (a.axis(a_rows), b.axis(0), b.axis(1)))
    else:
        yield Macs(1.0, (b.axis(b_columns), a.axis(0), a.axis(1)))
    bias = node.optional(2)
    if bias is not None:
        yield from broadcast(bias, y)
