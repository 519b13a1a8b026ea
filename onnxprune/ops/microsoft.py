"""Ops of onnxruntime's own that its optimiser writes into transformers: activations, norms with a sum, attention.

What it fuses into convolutions and Gemms is written out when a model is loaded, see `graph.fused`.
"""

from collections.abc import Iterator

from onnxprune.graph.layers.quantized import MICROSOFT
from onnxprune.ops.common import batch_axes, broadcast, pass_through, span
from onnxprune.ops.facts import Count, Fact, Free, Freeze, Macs, Produces, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand, RefusedError

_NORMALISES = "normalises over this axis"


@rule("BiasGelu", "FastGelu", "Gelu", domain=MICROSOFT)
def activation(node: NodeView) -> Iterator[Fact]:
    """Element by element, some with a bias that is added first."""
    for operand in node.inputs:
        if operand is not None:
            yield from broadcast(operand, node.output)


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_normalization(node: NodeView) -> Iterator[Fact]:
    """A sum of two streams, normalised over the last axis: the others pass through. The sum may be a result as well.

    x [..., C], skip [..., C], scale, shift and bias [C]
    """
    x, y = node.input(0), node.output
    if node.is_read(1) or node.is_read(2):
        raise RefusedError("its mean or deviation is used as well")
    yield from pass_through(x, y)
    for slot in range(1, len(node.inputs)):
        operand = node.optional(slot)
        if operand is not None:
            yield from broadcast(operand, y)
    yield Freeze(x.axis(-1), _NORMALISES, approximate=True)
    if len(node.outputs) > 3 and (total := node.outputs[3]) is not None:
        yield from pass_through(total, y)


@rule("EmbedLayerNormalization", domain=MICROSOFT)
def embedding(node: NodeView) -> Iterator[Fact]:
    """Rows of two or three tables, added up and normalised over the last axis.

    ids [N, T]; tables [rows, C] in slots 2 to 4; scale and shift [C] -> y [N, T, C]
    """
    ids, y = node.input(0), node.output
    if node.is_read(2):
        raise RefusedError("the sum of its embeddings is used as well")
    for axis in (0, 1):
        yield Tie(ids.axis(axis), y.axis(axis))
    for slot in (2, 3, 4, 5, 6):
        operand = node.optional(slot)
        if operand is not None:
            yield Tie(operand.axis(-1), y.axis(2))
    yield Freeze(y.axis(2), _NORMALISES, approximate=True)


@rule("FusedMatMul", domain=MICROSOFT)
def fused_matmul(node: NodeView) -> Iterator[Fact]:
    """A MatMul, either factor of which may be given transposed, times a number.

    MACs: one for every output element and summed position.
    """
    if node.attr("transBatchA", 0) or node.attr("transBatchB", 0):
        raise RefusedError("it moves its batch axes, which is not supported")
    a, b, y = node.input(0), node.input(1), node.output
    if min(a.rank, b.rank) < 2:
        raise RefusedError("a factor has a single axis")
    a_rows, a_inner = (-1, -2) if node.attr("transA", 0) else (-2, -1)
    b_inner, b_columns = (-1, -2) if node.attr("transB", 0) else (-2, -1)
    yield Tie(a.axis(a_inner), b.axis(b_inner))
    yield Sums(a.axis(a_inner))
    yield Sums(b.axis(b_inner))
    yield Tie(a.axis(a_rows), y.axis(-2))
    yield Tie(b.axis(b_columns), y.axis(-1))
    for factor in (a, b):
        yield from batch_axes(factor, y, y.rank)
    outer = tuple(y.axis(axis) for axis in range(y.rank - 2))
    if b.is_constant:
        yield Produces(y.axis(-1))
        yield Macs(1.0, (*outer, y.axis(-2), b.axis(-2), b.axis(-1)))
    elif a.is_constant:
        yield Produces(y.axis(-2))
        yield Macs(1.0, (*outer, y.axis(-1), a.axis(-2), a.axis(-1)))
    else:
        yield Macs(1.0, (*outer, y.axis(-2), y.axis(-1), a.axis(a_inner)))


@rule("MatMulNBits", domain=MICROSOFT)
def matmul_n_bits(node: NodeView) -> Iterator[Fact]:
    """A layer whose weight is packed in blocks with a scale each: filters go, and inputs by whole blocks.

    x [..., K], W [N, blocks, bytes], scales and zero points [N blocks] or [N, blocks], bias [N] -> y [..., N]. MACs:
    K N for every row. Where scales or zero points have one axis, which holds filters and blocks, inputs stay.
    """
    x, w, y = node.input(0), node.weight(1), node.output
    filters, last = w.shape[0], y.axis(-1)
    yield Produces(last)
    yield Tie(w.axis(0), last)
    yield Count("N", 0, last)
    for slot in (2, 3, 5):
        operand = node.optional(slot)
        if operand is None:
            continue
        each, left = divmod(operand.shape[0], filters)
        if left:
            raise RefusedError(f"{operand.ref.name!r} packs several filters into a byte")
        yield Tie(operand.axis(0), last, span(operand.shape[0]), span(operand.shape[0]) // each)
    if node.optional(4) is not None:
        raise RefusedError("its inputs are in an order of their own")
    outer = range(x.rank - 1)
    yield from (Tie(x.axis(axis), y.axis(axis)) for axis in outer)
    inputs, blocks = node.attr("K"), w.shape[1]
    # how many blocks an element of the scales and of the zero points is about
    shared = [(operand, _blocks_each(operand, blocks)) for operand in map(node.optional, (2, 3)) if operand is not None]
    if inputs == blocks * node.attr("block_size") and all(each for _, each in shared):
        yield Tie(x.axis(-1), w.axis(1), span(inputs), span(inputs) // node.attr("block_size"))
        yield from (Tie(w.axis(1), operand.axis(1), span(blocks), span(blocks) // each) for operand, each in shared)
        yield Count("K", 0, x.axis(-1))
        yield Sums(x.axis(-1))
        yield Macs(1.0, (*(y.axis(axis) for axis in outer), x.axis(-1), w.axis(0)))
    else:
        yield Freeze(x.axis(-1), "is what blocks of its weight are made for")
        yield Macs(float(inputs), (*(y.axis(axis) for axis in outer), w.axis(0)))


def _blocks_each(operand: Operand, blocks: int) -> int:
    """Return how many blocks each element of a row is about; 0 where rows are not told apart, or share elements."""
    each, left = divmod(blocks, operand.shape[1]) if operand.rank > 1 else (0, 0)
    return 0 if left else each


@rule("Attention", domain=MICROSOFT)
def attention(node: NodeView) -> Iterator[Fact]:
    """Queries, keys and values by one weight, and their attention: whole heads go.

    x [N, T, D], W [D, q + k + v], b [q + k + v] -> y [N, T, v]. MACs: the weight's, and those of the two products.
    """
    x, w, y = node.input(0), node.weight(1), node.output
    if node.optional(4) is not None or node.is_read(1):
        raise RefusedError("it keeps keys and values of past tokens")
    heads, total = node.parts("num_heads"), w.shape[1]
    sizes = node.attr("qkv_hidden_sizes") or [total // 3] * 3
    yield Tie(x.axis(2), w.axis(0))
    yield Sums(x.axis(2))
    start = 0
    for part, size in enumerate(sizes):
        yield Tie(w.axis(1), y.axis(2), span(size, start), span(size) // (size // heads) * (y.shape[2] // heads))
        if node.attr("qkv_hidden_sizes"):
            yield Count("qkv_hidden_sizes", part, w.axis(1), span(size, start))
        start += size
    bias = node.optional(2)
    if bias is not None:
        yield Tie(bias.axis(0), w.axis(1))
    yield from _heads(y, heads)
    yield Count("num_heads", 0, y.axis(2), span(y.shape[2])[:: y.shape[2] // heads])
    yield Produces(y.axis(2))
    yield from _tokens(x, y)
    yield from _bias_of_scores(node.optional(5), y, heads)
    mask = node.optional(3)
    if mask is not None:
        yield from (Free(mask.axis(axis)) for axis in range(mask.rank))
    yield Macs(1.0, (x.axis(0), x.axis(1), w.axis(0), w.axis(1)))
    yield Macs(1.0 + sizes[0] / sizes[2], (y.axis(0), y.axis(1), x.axis(1), y.axis(2)))


@rule("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(node: NodeView) -> Iterator[Fact]:
    """Attention of queries, keys and values that other layers make: whole heads go.

    q [N, T, q], k [N, S, q], v [N, S, v], b [2 q + v] -> y [N, T, v]. MACs: the two products.
    """
    q, k, v, y = node.input(0), node.input(1), node.input(2), node.output
    if any(node.optional(slot) for slot in (6, 7, 8)) or node.is_read(1) or node.is_read(2):
        raise RefusedError("it keeps keys and values of past tokens")
    if not q.rank == k.rank == v.rank == 3:
        raise RefusedError("its operands are packed in a way that is not supported")
    heads = node.parts("num_heads", q.shape[2], v.shape[2])
    for operand in (q, k, v):
        width, every = operand.shape[2] // heads, span(operand.shape[2])
        yield Tie(operand.axis(2), y.axis(2), every, every // width * (y.shape[2] // heads))
    bias, start = node.optional(3), 0
    for operand in (q, k, v) if bias is not None else ():
        assert bias is not None
        every = span(operand.shape[2])
        yield Tie(bias.axis(0), operand.axis(2), every + start, every)
        start += len(every)
    yield from (Sums(operand.axis(2)) for operand in (q, k))
    yield from _heads(y, heads)
    yield Count("num_heads", 0, y.axis(2), span(y.shape[2])[:: y.shape[2] // heads])
    yield from _tokens(q, y)
    for axis in (0, 1):
        yield Tie(k.axis(axis), v.axis(axis))
    yield Tie(q.axis(0), k.axis(0))
    yield Freeze(k.axis(1), _NORMALISES, approximate=True)
    yield from _bias_of_scores(node.optional(5), y, heads)
    mask = node.optional(4)
    if mask is not None:
        yield from (Free(mask.axis(axis)) for axis in range(mask.rank))
    yield Macs(1.0 + q.shape[2] / v.shape[2], (y.axis(0), y.axis(1), k.axis(1), y.axis(2)))


@rule("GroupQueryAttention", domain=MICROSOFT)
def group_query_attention(node: NodeView) -> Iterator[Fact]:
    """Attention of decoders, whose queries share keys and values: a head of these goes with all its queries' heads.

    q [N, T, heads d], k and v [N, T, shared d], those of the past and up to now [N, shared, S, d] -> y [N, T, heads d].
    Without k and v, q holds them behind its own. MACs: the two products.
    """
    q, y = node.input(0), node.output
    k, v = node.optional(1) or q, node.optional(2) or q
    heads = node.parts("num_heads", y.shape[2])
    shared = node.parts("kv_num_heads", heads)
    width = y.shape[2] // heads
    keys = heads * width if k is q else 0
    values = (heads + shared) * width if v is q else 0
    last, of_shared, of_heads = v.axis(2), span(shared * width), span(heads * width)
    first = of_shared // width * width + values  # of the values of each head, where the others are tied to
    yield Tie(last, last, of_shared + values, first)
    yield Tie(k.axis(2), last, of_shared + keys, first)
    for operand in (q, y):
        yield Tie(operand.axis(2), last, of_heads, of_heads // (width * (heads // shared)) * width + values)
    for state in (node.optional(3), node.optional(4), *node.outputs[1:3]):
        if state is not None:
            yield Tie(state.axis(1), last, span(shared), span(shared) * width + values)
            yield from (Free(state.axis(axis)) for axis in (0, 2))
    yield Count("num_heads", 0, y.axis(2), span(y.shape[2])[::width])
    yield Count("kv_num_heads", 0, last, (of_shared + values)[::width])
    yield from (Sums(operand.axis(2)) for operand in (q, k))
    yield from _tokens(q, y)
    for axis in (0, 1) if k is not q else ():
        yield Tie(k.axis(axis), v.axis(axis))
        yield Tie(q.axis(axis), k.axis(axis))
    yield from _bias_of_scores(node.optional(10), y, heads)
    sink = node.optional(11)
    if sink is not None:
        yield Tie(sink.axis(0), y.axis(2), span(heads), span(heads) * width)
    until_now = node.outputs[1] if len(node.outputs) > 1 and node.outputs[1] is not None else None
    length = k.axis(1) if until_now is None else until_now.axis(2)
    yield Macs(2.0, (y.axis(0), y.axis(1), length, y.axis(2)))


@rule("RotaryEmbedding", domain=MICROSOFT)
def rotary_embedding(node: NodeView) -> Iterator[Fact]:
    """Turn pairs of the dimensions of every head by angles of their tokens: heads pass, dimensions stay.

    x [N, T, heads d] or [N, heads, T, d], cosines and sines [positions, d / 2].
    """
    x, y, cosines = node.input(0), node.output, node.input(2)
    yield from pass_through(x, y)
    yield Freeze(x.axis(x.rank - 2), "looks up an angle for each position of this axis")
    if x.rank == 4:
        yield Freeze(x.axis(3), "is turned in pairs")
        return
    heads = node.attr("num_heads", 0)
    width = x.shape[2] // heads if heads else 2 * cosines.shape[-1]
    yield from _heads(x, x.shape[2] // width)
    if heads:
        yield Count("num_heads", 0, x.axis(2), span(x.shape[2])[::width])


def _heads(y: Operand, heads: int) -> Iterator[Fact]:
    """Tie the dimensions of each head to its first one."""
    every, width = span(y.shape[2]), y.shape[2] // heads
    if width > 1:
        yield Tie(y.axis(2), y.axis(2), every, every // width * width)


def _tokens(x: Operand, y: Operand) -> Iterator[Fact]:
    """Batch and tokens are those of the result; scores are normalised over the tokens."""
    yield Tie(x.axis(0), y.axis(0))
    yield Tie(x.axis(1), y.axis(1))
    yield Freeze(x.axis(1), _NORMALISES, approximate=True)


def _bias_of_scores(bias: Operand | None, y: Operand, heads: int) -> Iterator[Fact]:
    """Tie what is added to the scores [N or 1, heads or 1, T, S] by its heads."""
    if bias is None:
        return
    for axis in (0, 2, 3):
        yield Free(bias.axis(axis))
    if bias.shape[1] == heads:
        yield Tie(bias.axis(1), y.axis(2), span(heads), span(heads) * (y.shape[2] // heads))
    else:
        yield Free(bias.axis(1))
