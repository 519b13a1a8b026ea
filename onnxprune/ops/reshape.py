"""Reshape and Flatten: position arithmetic on the factors that both shapes have in common.

Reading both shapes from the right, every axis boundary is a stride. Where the strides of both sides divide each other,
the elements between two neighbouring strides form a factor: a piece that lies within one input axis and one output
axis. Positions of either axis that share the factor's coordinate live or die together. Examples:

* [N, C, H, W] -> [N, C*H*W]: C is a factor; the H*W columns of a channel go with it.
* [N, C, H, W] -> [N, g, C/g, H, W]: C holds two factors, either of which could carry the channels (equal columns of
  all groups, or whole groups). These ties are exclusive.
* [N, C, H, W] -> [N*C, H, W] with a free N: C is the fixed part of a free axis, where its channels come in cycles.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnxprune.ops.common import span
from onnxprune.ops.facts import Count, Cycle, Fact, Free, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand, RefusedError
from onnxprune.values.axes import IntArray


@dataclass(frozen=True)
class Factor:
    """A piece shared by input axis `source` and output axis `target`: coordinate = position // stride % size."""

    source: int
    target: int
    size: int
    source_stride: int
    target_stride: int


@rule("Flatten")
def flatten(node: NodeView) -> Iterator[Fact]:
    """Tie the axes by their common factors."""
    x, y = node.input(0), node.output
    yield from _ties(x, y, _shared_factors(x, y))


@rule("Reshape")
def reshape(node: NodeView) -> Iterator[Fact]:
    """Tie the axes by their common factors; the numbers of the target shape are counts."""
    x, y = node.input(0), node.output
    factors = _shared_factors(x, y)
    yield from _ties(x, y, factors)
    target = node.optional(1)
    slot: int | str
    if target is None:
        shape, slot = [int(n) for n in node.attr("shape")], "shape"
    elif target.value is None:
        raise RefusedError("its target shape is computed at run time")
    else:
        shape, slot = [int(n) for n in target.value], 1
    for axis in range(y.rank):
        copied = shape[axis] == 0 and not node.attr("allowzero", 0)
        same = [f for f in factors if axis in (f.source, f.target)]
        plain = len(same) == 1 and same[0].source == same[0].target and x.shape[axis] == y.shape[axis]
        if shape[axis] == -1 or (copied and (plain or not y.is_static(axis))):
            continue
        yield Count(slot, axis, y.axis(axis))


def _shared_factors(x: Operand, y: Operand) -> list[Factor]:
    """Return the factors that hold for any batch size."""
    if x.shapes is None or y.shapes is None:
        raise RefusedError("its shapes are unknown")
    others = common_factors(x.shapes[1], y.shapes[1])
    return [factor for factor in common_factors(x.shapes[0], y.shapes[0]) if factor in others]


def _ties(x: Operand, y: Operand, factors: Sequence[Factor]) -> Iterator[Fact]:
    for operand in (x, y):
        for axis, size in enumerate(operand.shape):
            if size == 1 and operand.is_static(axis):
                yield Free(operand.axis(axis))
    sources = _extents(x, [(f.source, f.source_stride * f.size) for f in factors])
    targets = _extents(y, [(f.target, f.target_stride * f.size) for f in factors])
    for operand, extents in ((x, sources), (y, targets)):
        yield from (Cycle(operand.axis(axis), size) for axis, size in extents.items() if not operand.is_static(axis))
    for factor in factors:
        shared = sum(factor.source == f.source or factor.target == f.target for f in factors) > 1
        fixed = x.is_static(factor.source) and y.is_static(factor.target)
        if fixed and sources[factor.source] == factor.size == targets[factor.target]:
            yield Tie(x.axis(factor.source), y.axis(factor.target))
        else:
            yield _factor_tie(x, y, factor, sources[factor.source], targets[factor.target], exclusive=shared)


def _extents(operand: Operand, reaches: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return the width of every axis that factors lie on: where it is free, that of its fixed part, the inner one."""
    found: dict[int, int] = {}
    for axis, reach in reaches:
        found[axis] = operand.shape[axis] if operand.is_static(axis) else max(reach, found.get(axis, 0))
    return found


def _factor_tie(x: Operand, y: Operand, factor: Factor, source: int, target: int, *, exclusive: bool) -> Tie:
    """Tie every position of either axis to the first position of the other that has the same coordinate."""
    inner, outer = factor.source_stride, factor.target_stride
    a_at, b_at = (np.empty(source + target, dtype=np.int64) for _ in range(2))
    a_at[:source], b_at[source:] = span(source), span(target)
    _repeat(span(factor.size) * inner, outer, a_at[source:])
    _repeat(span(factor.size) * outer, inner, b_at[:source])
    return Tie(
        x.axis(factor.source),
        y.axis(factor.target),
        a_at,
        b_at,
        exclusive=exclusive,
        periods=((inner, factor.size), (outer, factor.size)),
    )


def _repeat(values: IntArray, each: int, into: IntArray) -> None:
    """Fill an array: each value `each` times in turn, and all of them again and again."""
    times, rest = divmod(into.size, values.size * each)
    whole = into[: into.size - rest].reshape(times, values.size, each)
    whole[:] = values[:, None]
    into[into.size - rest :] = np.repeat(values[: rest // each + 1], each)[:rest]


def common_factors(source: Sequence[int], target: Sequence[int]) -> list[Factor]:
    """Return the factors, larger than 1, that two shapes of the same number of elements share."""
    inner, outer = _strides(source), _strides(target)
    if inner[0] != outer[0] or inner[0] == 0:
        return []
    strides = sorted({*inner, *outer}, reverse=True)
    factors = []
    for high, low in itertools.pairwise(strides):
        a, b = _holder(inner, high, low), _holder(outer, high, low)
        if high % low == 0 and a is not None and b is not None:
            factors.append(Factor(a, b, high // low, low // inner[a + 1], low // outer[b + 1]))
    return factors


def _strides(shape: Sequence[int]) -> list[int]:
    """Return the number of elements from each axis on: the whole, ..., the last axis, 1."""
    strides = [1]
    for size in reversed(shape):
        strides.append(strides[-1] * size)
    return strides[::-1]


def _holder(strides: Sequence[int], high: int, low: int) -> int | None:
    """Return the axis whose stretch of strides holds [low, high] in whole steps, if there is one."""
    for axis, (outer, inner) in enumerate(itertools.pairwise(strides)):
        if outer >= high and inner <= low and inner < outer:
            return axis if outer % high == 0 and low % inner == 0 else None
    return None
