"""Gather: positions picked from one axis by constant indices, or rows of a table (an embedding)."""

from collections.abc import Iterator

import numpy as np

from onnxprune.ops.common import span
from onnxprune.ops.facts import Count, Fact, Freeze, Produces, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand, RefusedError


@rule("Gather")
def gather(node: NodeView) -> Iterator[Fact]:
    """Tie the axes around the gathered one; a list of constant indices ties every output position to its source.

    The new value of an index is the number of kept positions before the one that it points to. Rows picked from a
    constant table while the model runs are a layer: an embedding makes the channels along its last axis.
    """
    x, indices, y = node.input(0), node.input(1), node.output
    picked = node.attr("axis", 0) % x.rank
    for axis in range(x.rank):
        if axis != picked:
            yield Tie(x.axis(axis), y.axis(axis if axis < picked else axis + indices.rank - 1))
    if x.is_constant and not indices.is_constant and picked != x.rank - 1:
        yield Produces(y.axis(-1))
    for axis in range(indices.rank):
        yield from _index_axis(x, indices, y, picked, axis)
    if indices.rank == 0:
        yield Freeze(x.axis(picked), "has a single position picked by number")


def _index_axis(x: Operand, indices: Operand, y: Operand, picked: int, axis: int) -> Iterator[Fact]:
    """Yield what is known of output axis `picked + axis`, which runs along axis `axis` of the indices."""
    target = y.axis(picked + axis)
    yield Tie(indices.axis(axis), target)
    if indices.rank != 1:
        yield Freeze(target, "is picked by a table of indices")
        yield Freeze(x.axis(picked), "is picked by a table of indices")
        return
    if not indices.is_constant:
        yield Freeze(x.axis(picked), "is picked by indices computed at run time")
        return
    numbers = indices.numbers()
    numbers = np.where(numbers < 0, numbers + x.shape[picked], numbers)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= x.shape[picked]):
        raise RefusedError("its indices are out of range")
    yield Tie(x.axis(picked), target, numbers, span(len(numbers)))
    for element, number in enumerate(numbers):
        yield Count(1, element, x.axis(picked), span(int(number)))
