"""Attention and RotaryEmbedding as single nodes (opset 23): [batch, heads, tokens, d] or [batch, tokens, heads * d]."""

import math
from collections.abc import Iterator

import numpy as np

from onnxprune.ops.common import pass_through, span
from onnxprune.ops.facts import Count, Fact, Free, Freeze, Macs, Pin, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand, RefusedError
from onnxprune.values.axes import Axis, IntArray


@rule("Attention")
def attention(node: NodeView) -> Iterator[Fact]:
    """Sum over the dimensions of q and k, hand on those of v; heads go with theirs of all four tensors.

    Several heads of q may share one of k and v. In the joint layout equal columns of all heads go together, and the
    heads stay. A scale that is not given depends on the dimensions, so the cut writes it down.
    MACs: the two products.
    """
    q, k, v, y = (*(node.input(slot) for slot in range(3)), node.output)
    if node.extra_output_used() or any(node.optional(slot) for slot in (4, 5, 6)):
        raise RefusedError("it keeps keys and values of past tokens")
    joint = q.rank == 3
    heads, shared = (node.parts("q_num_heads"), node.parts("kv_num_heads")) if joint else (q.shape[1], k.shape[1])
    tokens = 1 if joint else 2
    width = q.shape[-1] // heads if joint else q.shape[-1]
    yield Tie(q.axis(-1), k.axis(-1), *_columns(width, q, k))
    yield Tie(v.axis(-1), y.axis(-1), *_columns(v.shape[-1] // shared if joint else v.shape[-1], v, y))
    for operand, count in ((q, heads), (k, shared), (v, shared), (y, heads)):
        if joint:
            every = span(operand.shape[-1])
            yield Tie(operand.axis(-1), operand.axis(-1), every, every % (len(every) // count))
    for summed in (q.axis(-1), k.axis(-1)):
        yield Sums(summed)
        if node.attr("scale") is None:
            yield Pin("scale", 1 / math.sqrt(width), summed)
    if not joint:
        yield Tie(q.axis(1), y.axis(1))
        yield Tie(k.axis(1), v.axis(1))
        yield Tie(q.axis(1), k.axis(1), span(heads), span(heads) // (heads // shared))
    for axis in (0, tokens):
        yield Tie(q.axis(axis), y.axis(axis))
        yield Tie(k.axis(axis), v.axis(axis))
    yield Tie(q.axis(0), k.axis(0))
    yield Freeze(k.axis(tokens), "normalises over this axis", approximate=True)
    if node.attr("is_causal", 0):
        for operand in (q, k):
            yield Freeze(operand.axis(tokens), "counts positions along this axis")
    outer = [q.axis(axis) for axis in range(q.rank - 1)]
    yield Macs(1.0, (*outer, k.axis(tokens), q.axis(-1)))
    yield Macs(1.0, (*outer, k.axis(tokens), y.axis(-1)))
    yield from _mask(node.optional(3), q, k, tokens, heads)


def _columns(width: int, a: Operand, b: Operand) -> tuple[IntArray | None, IntArray | None]:
    """Return the columns of the first head on both sides, or None where the axes hold one head."""
    return (None, None) if a.shape[-1] == b.shape[-1] == width else (span(width), span(width))


def _mask(mask: Operand | None, q: Operand, k: Operand, tokens: int, heads: int) -> Iterator[Fact]:
    """Tie a mask, which is broadcast to [batch, heads, tokens of q, tokens of k]."""
    if mask is None:
        return
    partners: tuple[Axis | None, ...] = (q.axis(0), q.axis(1) if q.rank == 4 else None, q.axis(tokens), k.axis(tokens))
    for axis, partner in zip(range(mask.rank), partners[4 - mask.rank :], strict=True):
        if mask.shape[axis] == 1 or (partner is None and mask.shape[axis] == heads):
            yield Free(mask.axis(axis))
        elif partner is not None:
            yield Tie(mask.axis(axis), partner)


@rule("RotaryEmbedding")
def rotary_embedding(node: NodeView) -> Iterator[Fact]:
    """Tie the two positions of every pair to each other and to their column of the cosines and sines.

    In the joint layout equal columns of all heads go together.
    """
    x, y = node.input(0), node.output
    yield from pass_through(x, y)
    for axis in (0, 2 if x.rank == 4 else 1):
        yield Freeze(x.axis(axis), "looks up an angle for each position of this axis")
    last, width = x.axis(-1), x.shape[-1]
    per_head = width // node.parts("num_heads", width) if x.rank == 3 else width
    if per_head < width:
        yield Tie(last, last, span(width), span(width) % per_head)
    turned = node.attr("rotary_embedding_dim", 0) or per_head
    pairs = span(turned).reshape(-1, 2) if node.attr("interleaved", 0) else span(turned).reshape(2, -1).T
    first, second = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    yield Tie(last, last, first, second)
    if node.attr("rotary_embedding_dim", 0):
        yield Count("rotary_embedding_dim", 0, last, span(turned))
    for slot in (1, 2):
        yield Tie(node.input(slot).axis(-1), last, span(len(first)), first)
