"""Ops of onnxruntime's own, as its optimiser writes them into transformers."""

import numpy as np
import onnx
import pytest
from nets import analysed, assert_cut_equals_mask, distance, frozen_reasons, group_sizes, net, random_feed, run

from onnxprune.analysis.analyse import analyse
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.measures import count_params
from onnxprune.surgery.cut import cut
from onnxprune.surgery.mask import masked_model

DOMAINS = {"com.microsoft": 1}


@pytest.mark.parametrize("op", ["BiasGelu(h, b)", "FastGelu(h, b)", "FastGelu(h)", "Gelu(h)"])
def test_activations_let_hidden_channels_go(op: str) -> None:
    model = net(
        f"""(float[n, 3, 5] x) => (float[n, 3, 4] y) <float[5, 8] w0, float[8] b, float[8, 4] w1> {{
            h = MatMul(x, w0)
            a = com.microsoft.{op}
            y = MatMul(a, w1)
        }}""",
        domains=DOMAINS,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model, free={"n": 2})


@pytest.mark.parametrize("op", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_norms_of_sums_pass_other_axes_and_are_cut_along_theirs_on_request(op: str) -> None:
    vectors = "g, b, c" if op == "SkipLayerNormalization" else "g, c"
    model = net(
        f"""(float[2, 3, 5] x) => (float[2, 3, 4] y)
        <float[5, 6] w0, float[5, 6] w1, float[6] g, float[6] b, float[6] c, float[6, 8] w2, float[8, 6] w3,
         float[6, 4] w4> {{
            s = MatMul(x, w0)
            t = MatMul(x, w1)
            h, , , sum = com.microsoft.{op}<epsilon = 1e-5>(s, t, {vectors})
            u = MatMul(h, w2)
            v = Relu(u)
            w = MatMul(v, w3)
            r = Add(w, sum)
            y = MatMul(r, w4)
        }}""",
        domains=DOMAINS,
    )
    assert group_sizes(model) == [8]
    assert "normalises over this axis" in frozen_reasons(model)["s"]
    assert_cut_equals_mask(model)
    assert group_sizes(model, approximate=True) == [6, 8]
    assert_cut_equals_mask(model, approximate=True)


def test_a_mean_that_is_read_freezes() -> None:
    model = net(
        """(float[2, 3, 5] x) => (float[2, 3, 4] y, float[2, 3, 1] m)
        <float[5, 6] w0, float[6] g, float[6] b, float[6, 4] w1> {
            s = MatMul(x, w0)
            h, m = com.microsoft.SkipLayerNormalization(s, s, g, b)
            y = MatMul(h, w1)
        }""",
        domains=DOMAINS,
    )
    assert "its mean or deviation is used as well" in frozen_reasons(model, approximate=True)["s"]


def test_embeddings_leave_what_lies_behind_them() -> None:
    model = net(
        """(int32[2, 3] ids, int32[2, 3] segments, int32[2, 3] mask) => (float[2, 3, 4] y)
        <float[9, 6] words, float[5, 6] places, float[2, 6] kinds, float[6] g, float[6] b, float[6, 8] w0,
         float[8, 4] w1> {
            h, lengths = com.microsoft.EmbedLayerNormalization(ids, segments, words, places, kinds, g, b, mask)
            u = MatMul(h, w0)
            v = Relu(u)
            y = MatMul(v, w1)
        }""",
        domains=DOMAINS,
    )
    assert group_sizes(model) == [8]
    ids = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert_cut_equals_mask(model, feed={"ids": ids, "segments": ids % 2, "mask": np.ones_like(ids)})


@pytest.mark.parametrize("sizes", ["", "qkv_hidden_sizes = [8, 8, 12], "])
@pytest.mark.parametrize("bias", ["", "r1", "r4"])
def test_attention_loses_whole_heads(sizes: str, bias: str) -> None:
    total, value = (28, 12) if sizes else (24, 8)
    model = net(
        f"""(float[2, 3, 5] x) => (float[2, 3, 4] y)
        <float[5, 6] w, float[6, {total}] w0, float[{total}] b0, float[{value}, 4] w1, float[1, 1, 3, 3] r1,
         float[1, 4, 3, 3] r4> {{
            s = MatMul(x, w)
            a = com.microsoft.Attention<{sizes}num_heads = 4>(s, w0, b0, , , {bias})
            y = MatMul(a, w1)
        }}""",
        domains=DOMAINS,
    )
    assert group_sizes(model) == [4, 6]
    checked = assert_cut_equals_mask(model)
    assert checked.attribute("a", "num_heads") == 2
    assert checked.shape("w0") == (3, total // 2)
    assert checked.shape("w1") == (value // 2, 4)


@pytest.mark.parametrize("bias", ["", "b0"])
def test_attention_of_separate_projections_loses_whole_heads(bias: str) -> None:
    model = net(
        f"""(float[2, 3, 5] x) => (float[2, 3, 4] y)
        <float[5, 8] wq, float[5, 8] wk, float[5, 12] wv, float[28] b0, float[12, 4] w1> {{
            q = MatMul(x, wq)
            k = MatMul(x, wk)
            v = MatMul(x, wv)
            a = com.microsoft.MultiHeadAttention<num_heads = 4>(q, k, v, {bias})
            y = MatMul(a, w1)
        }}""",
        domains=DOMAINS,
    )
    assert group_sizes(model) == [4]
    checked = assert_cut_equals_mask(model)
    assert checked.attribute("a", "num_heads") == 2
    assert checked.shape("wq") == (5, 4)


def test_keys_and_values_of_the_past_freeze() -> None:
    model = net(
        """(float[2, 3, 5] x, float[2, 2, 4, 7, 2] past) => (float[2, 3, 4] y, float[2, 2, 4, 10, 2] now)
        <float[5, 24] w0, float[24] b0, float[8, 4] w1> {
            a, now = com.microsoft.Attention<num_heads = 4>(x, w0, b0, , past)
            y = MatMul(a, w1)
        }""",
        domains=DOMAINS,
    )
    assert group_sizes(model) == []


DECODER = """(float[1, 2, 12] x, float[1, 2, 4, 16] pk, float[1, 2, 4, 16] pv)
    => (float[1, 2, 3] y, float[1, 2, 6, 16] nk, float[1, 2, 6, 16] nv)
    <float[12, 64] wq, float[12, 32] wk, float[12, 32] wv, float[64, 3] w1, int32[1] last = {5}, int32[1] total = {6},
     float[16, 8] cos, float[16, 8] sin> {
        q = MatMul(x, wq)
        k = MatMul(x, wk)
        v = MatMul(x, wv)
        a, nk, nv = com.microsoft.GroupQueryAttention<num_heads = 4, kv_num_heads = 2, do_rotary = 1>(
            q, k, v, pk, pv, last, total, cos, sin)
        y = MatMul(a, w1)
    }"""
"""Two heads of keys and values, each of them for two heads of queries, with those of four tokens before."""


def test_heads_of_a_decoder_stay_with_its_cache() -> None:
    model = net(DECODER, domains=DOMAINS)
    assert group_sizes(model) == []
    assert {group.opened_by for group in analysed(model).groups} == {"interface", ""}


def test_heads_of_a_decoder_go_with_its_cache_on_request() -> None:
    model = net(DECODER, domains=DOMAINS)
    analysis = analyse(read_graph(model), interface=True)
    (group,) = analysis.prunable
    assert group.size == 2
    keep = {group.name: np.array([False, True])}
    result, masks = cut(analysis, keep), analysis.axis_masks(keep)
    feed = random_feed(model)
    slim = {name: value if name == "x" else value[:, 1:] for name, value in feed.items()}
    found, mask = run(result.model, slim), run(masked_model(analysis, masks), feed)
    assert distance(found[0], mask[0]) < 1e-5
    for state, masked in zip(found[1:], mask[1:], strict=True):
        assert distance(state, masked[:, 1:]) < 1e-5
    assert distance(mask[0], run(model, feed)[0]) > 1e-2


ALONE = DECODER.replace(", float[1, 2, 4, 16] pk, float[1, 2, 4, 16] pv", "").replace("pk, pv", ", ").replace(
    ", float[1, 2, 6, 16] nk, float[1, 2, 6, 16] nv", ""
).replace("a, nk, nv", "a").replace("{5}", "{1}").replace("{6}", "{2}")  # fmt: skip
TURNED = ALONE.replace("do_rotary = 1", "do_rotary = 0").replace("            q, k", "            q1, k").replace(
    ", cos, sin)", ")"
).replace("float[16, 8] cos", "int64[1, 2] at = {0, 1}, float[16, 8] cos")  # fmt: skip


PACKED = """(float[1, 2, 12] x) => (float[1, 2, 3] y)
    <float[12, 128] w, float[128] b, float[64, 3] w1, int32[1] last = {1}, int32[1] total = {2}, float[16, 8] cos,
     float[16, 8] sin> {
        m = MatMul(x, w)
        q = Add(m, b)
        a = com.microsoft.GroupQueryAttention<num_heads = 4, kv_num_heads = 2, do_rotary = 1>(
            q, , , , , last, total, cos, sin)
        y = MatMul(a, w1)
    }"""
"""Queries, keys and values out of one layer, as model builders of decoders write them."""


@pytest.mark.parametrize(
    "text",
    [
        ALONE,
        PACKED,
        TURNED.replace("k = M", "q1 = com.microsoft.RotaryEmbedding(q, at, cos, sin) k = M", 1),
        TURNED.replace("k = M", "q1 = com.microsoft.RotaryEmbedding<num_heads = 4>(q, at, cos, sin) k = M", 1),
    ],
    ids=["turned inside", "packed", "turned before", "turned by so many heads"],
)
def test_shared_heads_without_a_past(text: str) -> None:
    model = net(text, domains=DOMAINS)
    assert group_sizes(model) == [2]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_products_of_transposed_factors(a: int, b: int) -> None:
    shape = "4, 8" if b else "8, 4"
    model = net(
        f"""(float[2, 3, 5] x) => (float[2, 3, 4] y) <float[5, 8] w0, float[{shape}] w1, int64[3] t = {{2, 8, 3}}> {{
            h = MatMul(x, w0)
            r = Relu(h)
            s = {"Transpose<perm = [0, 2, 1]>" if a else "Identity"}(r)
            y = com.microsoft.FusedMatMul<alpha = 0.5, transA = {a}, transB = {b}>(s, w1)
        }}""",
        domains=DOMAINS,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("zeros", [True, False])
def test_packed_weights_lose_filters_and_blocks_of_inputs(flat: bool, zeros: bool) -> None:
    """Four bits, blocks of 16: four blocks of eight bytes a filter, a scale for each and half a byte of zero points."""
    scales, points = ("[24]", "[12]") if flat else ("[6, 4]", "[6, 2]")
    model = net(
        f"""(float[2, 3, 5] x) => (float[2, 3, 4] y)
        <float[5, 64] w0, uint8[6, 4, 8] w1, float{scales} s, uint8{points} z, float[6, 4] w2> {{
            h = MatMul(x, w0)
            p = com.microsoft.MatMulNBits<K = 64, N = 6, bits = 4, block_size = 16>(h, w1, s{", z" if zeros else ""})
            r = Relu(p)
            y = MatMul(r, w2)
        }}""",
        domains=DOMAINS,
    )
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.UINT8:
            numbers = np.random.default_rng(1).integers(0, 256, tuple(tensor.dims)).astype(np.uint8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(numbers, tensor.name))
    blocks = 2 if zeros else 4
    assert group_sizes(model) == ([6] if flat else [blocks, 6])
    assert ("h" in frozen_reasons(model)) == flat
    checked = assert_cut_equals_mask(model)
    kept = 4 if flat else 2
    assert checked.shape("w1") == (3, kept, 8)
    assert (checked.attribute("p", "N"), checked.attribute("p", "K")) == (3, 16 * kept)
    analysis = analysed(model)
    assert analysis.macs() == 6 * (5 * 64 + 64 * 6 + 6 * 4)
    assert analysis.params() == count_params(model) == 5 * 64 + 64 * 6 + 6 * 4
    assert analysis.params(checked.keep) == count_params(checked.model)
