"""Fourier transforms: the batch passes through, samples and frequencies are all of a piece."""

from collections.abc import Iterator

from onnxprune.ops.facts import Fact, Freeze, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("DFT")
def dft(node: NodeView) -> Iterator[Fact]:
    """All axes pass through but the transformed one and the last, which holds real and imaginary parts."""
    x, y = node.input(0), node.output
    given = node.optional(2)
    axis = (int(given.numbers()[0]) if given else node.attr("axis", 1 if node.version < 20 else -2)) % x.rank
    for other in range(x.rank):
        if other in (axis, x.rank - 1):
            for operand in (x, y):
                yield Freeze(operand.axis(other), "is transformed along this axis")
        else:
            yield Tie(x.axis(other), y.axis(other))


@rule("STFT")
def stft(node: NodeView) -> Iterator[Fact]:
    """The batch passes through. x [N, T, 1 or 2] -> y [N, frames, frequencies, 2]."""
    x, y = node.input(0), node.output
    yield Tie(x.axis(0), y.axis(0))
    for operand in (x, y):
        for axis in range(1, operand.rank):
            yield Freeze(operand.axis(axis), "is transformed along this axis")
    if (window := node.optional(2)) is not None:
        yield Freeze(window.axis(0), "is a window over samples")
