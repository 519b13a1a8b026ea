"""Gather: positions picked from one axis by constant indices of any rank, or rows of a table (an embedding)."""

from collections.abc import Iterator

import numpy as np

from onnxprune.ops.common import span
from onnxprune.ops.facts import Fact, Freeze, Produces, Renumber, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand, RefusedError


@rule("Gather")
def gather(node: NodeView) -> Iterator[Fact]:
    """Tie the axes around the gathered one, and those of the indices to the ones that they become.

    Every output position is tied to the positions that it is picked from. A table of indices may be cut along one of
    its axes only, as the rest has to stay rectangular: its ties are exclusive. Rows picked from a constant table while
    the model runs are a layer: an embedding makes the channels along its last axis.
    """
    x, indices, y = node.input(0), node.input(1), node.output
    picked = node.attr("axis", 0) % x.rank
    written = _is_written(indices)
    for axis in range(x.rank):
        if axis != picked:
            yield Tie(x.axis(axis), y.axis(axis if axis < picked else axis + indices.rank - 1))
    if x.is_constant and not written and picked != x.rank - 1:
        yield Produces(y.axis(-1))
    for axis in range(indices.rank):
        yield Tie(indices.axis(axis), y.axis(picked + axis))
    if indices.rank == 0:
        yield from _single(x, indices, picked)
    elif not written:
        yield Freeze(x.axis(picked), "is picked by indices computed at run time")
    else:
        yield from _picks(x, indices, y, picked)


def _is_written(indices: Operand) -> bool:
    """Whether the indices can be read here; what follows from constants alone need not have been computed."""
    return indices.is_constant and indices.value is not None


def _single(x: Operand, index: Operand, picked: int) -> Iterator[Fact]:
    """Keep the position that is picked by number, as its axis is gone behind it; others may go."""
    if not _is_written(index) or not x.is_static(picked):
        yield Freeze(x.axis(picked), "has a position picked by a number computed at run time")
        return
    place = int(index.numbers()[0])
    place += x.shape[picked] if place < 0 else 0
    if not 0 <= place < x.shape[picked]:
        raise RefusedError("its index is out of range")
    yield Freeze(x.axis(picked), "has this position picked by number", at=span(1, place))
    yield Renumber(1, x.axis(picked))


def _picks(x: Operand, indices: Operand, y: Operand, picked: int) -> Iterator[Fact]:
    numbers = indices.numbers()
    numbers = np.where(numbers < 0, numbers + x.shape[picked], numbers).reshape(indices.shape)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= x.shape[picked]):
        raise RefusedError("its indices are out of range")
    yield Renumber(1, x.axis(picked))
    carriers = [axis for axis, size in enumerate(indices.shape) if size != 1] or [0]
    for axis in carriers:
        sources = np.moveaxis(numbers, axis, 0).ravel()
        targets = np.repeat(span(indices.shape[axis]), numbers.size // max(1, indices.shape[axis]))
        yield Tie(x.axis(picked), y.axis(picked + axis), sources, targets, exclusive=len(carriers) > 1)
