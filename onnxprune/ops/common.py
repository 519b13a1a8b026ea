"""Facts that several op families share."""

from collections.abc import Iterable, Iterator

import numpy as np

from onnxprune.ops.facts import Fact, Free, Tie
from onnxprune.ops.view import Operand, RefusedError
from onnxprune.values.axes import IntArray


def pass_through(source: Operand, target: Operand, axes: Iterable[int] | None = None) -> Iterator[Fact]:
    """Tie equal axes of two tensors of the same rank (all of them, or just `axes`)."""
    if source.rank != target.rank:
        raise RefusedError(f"{source.ref.name!r} and {target.ref.name!r} differ in rank")
    for axis in range(source.rank) if axes is None else axes:
        yield Tie(source.axis(axis), target.axis(axis))


def broadcast(operand: Operand, output: Operand) -> Iterator[Fact]:
    """Tie the axes of `operand` to the axes of `output` that numpy-style broadcasting lines up."""
    shift = output.rank - operand.rank
    if shift < 0:
        raise RefusedError(f"{operand.ref.name!r} has more axes than the result")
    for axis, size in enumerate(operand.shape):
        if size == 1 and output.shape[axis + shift] != 1:
            yield Free(operand.axis(axis))
        else:
            yield Tie(operand.axis(axis), output.axis(axis + shift))


def batch_axes(factor: Operand, y: Operand, rank: int) -> Iterator[Fact]:
    """Tie the broadcast batch axes, which stand in front of the last two."""
    for axis in range(factor.rank - 2):
        place = axis + rank - factor.rank
        if factor.shape[axis] == 1 and y.shape[place] != 1:
            yield Free(factor.axis(axis))
        else:
            yield Tie(factor.axis(axis), y.axis(place))


def span(size: int, start: int = 0) -> IntArray:
    """Return the positions `start` .. `start + size - 1`."""
    return np.arange(start, start + size, dtype=np.int64)
