"""Gathering and scattering by tables of indices: axes that no index addresses pass through.

An addressed axis can be cut only where the indices are constants that form a grid, or are put together from vectors, or
are places of a pooling. Then an axis of theirs says which positions they take, and each index becomes the number of
kept positions before the one that it points to.
"""

from collections.abc import Iterator

import numpy as np

from onnxprune.graph.coordinates import Coordinate, Unpooling
from onnxprune.ops.common import pass_through, span
from onnxprune.ops.facts import Count, Cycle, Fact, Freeze, Renumber, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand, RefusedError
from onnxprune.values.axes import Axis, IntArray, Ref

_ADDRESSED = "is addressed by indices"
_COUNTED = 1 << 14  # larger tables than this are not counted number by number


@rule("ScatterElements", "Scatter")
def scatter_elements(node: NodeView) -> Iterator[Fact]:
    """Indices and updates lie on the first positions of every axis but the addressed one."""
    x, indices, updates, y = node.input(0), node.input(1), node.input(2), node.output
    addressed = node.attr("axis", 0) % x.rank
    yield from pass_through(x, y)
    yield from pass_through(indices, updates)
    yield from _alongside(updates, y, addressed)
    for operand in (x, indices):
        yield Freeze(operand.axis(addressed), _ADDRESSED)


@rule("GatherElements")
def gather_elements(node: NodeView) -> Iterator[Fact]:
    """The result looks like the indices, which lie on the first positions of every axis but the addressed one."""
    x, indices, y = node.input(0), node.input(1), node.output
    addressed = node.attr("axis", 0) % x.rank
    yield from pass_through(indices, y)
    yield from _alongside(y, x, addressed)
    yield Freeze(x.axis(addressed), _ADDRESSED)


def _alongside(part: Operand, whole: Operand, addressed: int) -> Iterator[Fact]:
    for axis in range(part.rank):
        if axis != addressed:
            at = None if part.shape[axis] == whole.shape[axis] else span(part.shape[axis])
            yield Tie(part.axis(axis), whole.axis(axis), None, at)


@rule("ScatterND")
def scatter_nd(node: NodeView) -> Iterator[Fact]:
    """The axes behind the addressed ones pass through. x [D...], indices [Q..., d], updates [Q..., D from d on...]."""
    x, indices, updates, y = node.input(0), node.input(1), node.input(2), node.output
    loose = indices.rank - 1
    yield from pass_through(x, y)
    for axis in range(loose):
        yield Tie(indices.axis(axis), updates.axis(axis))
    for axis in range(loose, updates.rank):
        yield Tie(updates.axis(axis), y.axis(axis - loose + _depth(indices)))
    unpooling = node.unpooling()
    yield from _addressed(node, y, updates) if unpooling is None else _unpooled(unpooling, indices, updates, y)


def _unpooled(found: Unpooling, indices: Operand, updates: Operand, y: Operand) -> Iterator[Fact]:
    """Every place of a flat tensor goes with its channel; the first places of the channels are renumbered."""
    yield Freeze(indices.axis(1), "holds the coordinates of an index")
    rows = []
    for operand, plane in ((updates, found.read), (y, found.made)):
        size = found.channels * plane
        if not operand.is_static(0):
            yield Cycle(operand.axis(0), size)
        rows.append(span(operand.shape[0] if operand.is_static(0) else size))
    read, made = rows
    yield Tie(
        updates.axis(0),
        y.axis(0),
        np.concatenate([read, made // found.made % found.channels * found.read]),
        np.concatenate([read // found.read % found.channels * found.made, made]),
        periods=((found.read, found.channels), (found.made, found.channels)),
    )
    if found.base is not None:
        node, slot = found.base
        yield Renumber(slot, y.axis(0), node)
    if found.counted is not None:
        node, slot = found.counted
        yield Count(slot, 0, y.axis(0), span(found.channels) * found.made, node=node)


@rule("GatherND")
def gather_nd(node: NodeView) -> Iterator[Fact]:
    """The axes before and behind the addressed ones pass through.

    x [B..., D...], indices [B..., Q..., d] -> y [B..., Q..., D from d on...]
    """
    x, indices, y = node.input(0), node.input(1), node.output
    batches = node.attr("batch_dims", 0)
    loose = indices.rank - 1
    for axis in range(loose):
        yield Tie(indices.axis(axis), y.axis(axis))
    for axis in range(batches):
        yield Tie(x.axis(axis), y.axis(axis))
    for axis in range(loose, y.rank):
        yield Tie(x.axis(axis - loose + batches + _depth(indices)), y.axis(axis))
    yield from _addressed(node, x, y, batches)


def _depth(indices: Operand) -> int:
    if not indices.is_static(indices.rank - 1):
        raise RefusedError("how many axes its indices address is known at run time only")
    return indices.shape[-1]


def _addressed(node: NodeView, x: Operand, slices: Operand, batches: int = 0) -> Iterator[Fact]:
    """Yield the facts of the axes of `x` that the indices address, and of the axes of `slices` that say where."""
    indices = node.input(1)
    depth = _depth(indices)
    yield Freeze(indices.axis(-1), "holds the coordinates of an index")
    grid = None if batches else _grid(indices, x.shape[:depth])
    vectors = node.coordinates(1, depth) if grid is None and not batches else ()
    taken = set()
    for coordinate in range(depth):
        target = x.axis(batches + coordinate)
        if vectors:
            found = _by_vector(vectors[coordinate], target, x.shape[coordinate])
        else:
            found = None if grid is None else _by_grid(grid, coordinate, target)
        if found is None:
            yield Freeze(target, _ADDRESSED)
            continue
        along, places, facts = found
        yield from facts
        if along is None:
            yield Freeze(target, "has this position picked by number", at=places[:1])
        else:
            yield Tie(target, slices.axis(along), places, span(len(places)))
            taken.add(along)
    yield from (Freeze(slices.axis(axis), _ADDRESSED) for axis in range(batches, indices.rank - 1) if axis not in taken)


_Found = tuple[int | None, IntArray, list[Fact]]
"""The axis of the indices that one of their numbers varies along (None: along none), its values, and what follows."""


def _by_grid(grid: IntArray, coordinate: int, target: Axis) -> _Found | None:
    """Read one number of constant indices; None where it varies along several axes."""
    numbers = grid[..., coordinate]
    along = _varies_along(numbers)
    if len(along) > 1:
        return None
    depth = grid.shape[-1]
    facts: list[Fact] = [Count(1, e * depth + coordinate, target, span(int(n))) for e, n in enumerate(numbers.flat)]
    if not along:
        return None, numbers.ravel(), facts
    return along[0], np.moveaxis(numbers, along[0], 0).reshape(numbers.shape[along[0]], -1)[:, 0], facts


def _by_vector(vector: Coordinate | None, target: Axis, size: int) -> _Found | None:
    """Read one number that a vector says: all that read the vector do it alike, and it is renumbered."""
    if vector is None:
        return None
    places = np.where(vector.places < 0, vector.places + size, vector.places)
    if (places < 0).any() or (places >= size).any():
        raise RefusedError("its indices are out of range")
    (node, slot), *others = vector.uses
    facts: list[Fact] = [Renumber(own_slot, target, own) for own, own_slot in vector.uses]
    if vector.dim is not None:
        own = Axis(Ref(vector.name, node, slot), vector.dim)
        facts += [Tie(own, Axis(Ref(vector.name, *other), vector.dim)) for other in others]
    return vector.along, places, facts


def _grid(indices: Operand, sizes: tuple[int, ...]) -> IntArray | None:
    """Return the indices, made non-negative, in their shape; None where they are not known or too many."""
    if indices.value is None or not 0 < indices.value.size <= _COUNTED or None in indices.elements():
        return None
    found = indices.numbers().reshape(indices.shape)
    found = np.where(found < 0, found + np.asarray(sizes), found)
    if (found < 0).any() or (found >= np.asarray(sizes)).any():
        raise RefusedError("its indices are out of range")
    return found


def _varies_along(numbers: IntArray) -> list[int]:
    """Return the axes along which the numbers differ."""
    return [axis for axis in range(numbers.ndim) if bool((np.diff(numbers, axis=axis) != 0).any())]
