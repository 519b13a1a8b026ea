"""Attention and RotaryEmbedding as single nodes."""

import math

import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net

KNOWN = "float[6, 16] wq, float[6, {kv}] wk, float[6, {kv}] wv, float[16, 5] wo"
SPLIT = """
    q0 = MatMul(x, wq) q1 = Reshape(q0, hq) q = Transpose<perm = [0, 2, 1, 3]>(q1)
    k0 = MatMul(x, wk) k1 = Reshape(k0, hk) k = Transpose<perm = [0, 2, 1, 3]>(k1)
    v0 = MatMul(x, wv) v1 = Reshape(v0, hk) v = Transpose<perm = [0, 2, 1, 3]>(v1)
"""
JOIN = "m = Transpose<perm = [0, 2, 1, 3]>(a) f = Reshape(m, flat) y = MatMul(f, wo)"
SIZES = "int64[4] hq = {{0, 5, 4, 4}}, int64[4] hk = {{0, 5, {n}, 4}}, int64[3] flat = {{0, 5, 16}}"


@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize(("attributes", "scale"), [("<is_causal = 1>", 0.5), ("<scale = 0.3>", 0.3)])
def test_heads_as_an_axis_lose_dimensions_and_keep_their_scale(shared: int, attributes: str, scale: float) -> None:
    model = net(
        f"""(float[n, 5, 6] x) => (float[n, 5, 5] y) <{KNOWN.format(kv=4 * shared)}, {SIZES.format(n=shared)}> {{
            {SPLIT} a = Attention{attributes}(q, k, v) {JOIN}
        }}""",
        opset=23,
        ir=10,
    )
    assert group_sizes(model) == [*([shared] if shared > 1 else []), 4, 4]
    for batch in (1, 2):
        checked = assert_cut_equals_mask(model, free={"n": batch})
    left = max(1, shared // 2)
    assert checked.shape("wq") == (6, 2 * 4 // shared * left)
    assert checked.shape("wk") == checked.shape("wv") == (6, 2 * left)
    assert math.isclose(checked.attribute("a", "scale"), scale, rel_tol=1e-6)
    assert checked.analysis.macs() == 5 * 6 * (16 + 8 * shared) + 5 * 16 * 5 + 2 * 4 * 5 * 5 * 4
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def test_shared_heads_go_with_all_their_queries_and_a_mask_follows() -> None:
    """A norm over the dimensions of every one leaves the heads."""
    model = net(
        f"""(float[n, 5, 6] x) => (float[n, 5, 5] y)
        <{KNOWN.format(kv=8)}, {SIZES.format(n=2)}, float[4] g, float[4, 5, 5] mask> {{
            {SPLIT} qn = LayerNormalization(q, g) vn = LayerNormalization(v, g)
            a = Attention(qn, k, vn, mask) {JOIN}
        }}""",
        opset=23,
        ir=10,
    )
    assert group_sizes(model) == [2]
    checked = assert_cut_equals_mask(model)
    assert [checked.shape(name) for name in ("wq", "wk", "wv", "mask")] == [(6, 8), (6, 4), (6, 4), (2, 5, 5)]
    assert not any(attribute.name == "scale" for attribute in checked.node("a").attribute)
    assert group_sizes(model, approximate=True) == [2, 4, 4]
    assert_cut_equals_mask(model, approximate=True)


@pytest.mark.parametrize("shared", [2, 4])
def test_heads_side_by_side_lose_equal_columns(shared: int) -> None:
    model = net(
        f"""(float[n, 5, 6] x) => (float[n, 5, 5] y) <{KNOWN.format(kv=4 * shared)}, float[5, 5] mask> {{
            q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)
            a = Attention<q_num_heads = 4, kv_num_heads = {shared}>(q, k, v, mask)
            y = MatMul(a, wo)
        }}""",
        opset=23,
        ir=10,
    )
    assert group_sizes(model) == [4, 4]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("wq") == (6, 8)
    assert checked.shape("wk") == (6, 2 * shared)
    assert math.isclose(checked.attribute("a", "scale"), 0.5, rel_tol=1e-6)
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def test_a_cache_of_past_tokens_freezes() -> None:
    model = net(
        f"""(float[n, 5, 6] x, float[n, 4, 3, 4] pk, float[n, 4, 3, 4] pv) => (float[n, 5, 5] y)
        <{KNOWN.format(kv=16)}, {SIZES.format(n=4)}> {{ {SPLIT} a, b, c = Attention(q, k, v, , pk, pv) {JOIN} }}""",
        opset=23,
        ir=10,
    )
    assert group_sizes(model, approximate=True) == []
    assert "it keeps keys and values of past tokens" in frozen_reasons(model)["q0"]


@pytest.mark.parametrize(
    ("attributes", "half", "sizes"),
    [
        ("", 2, [2, 4, 4]),
        ("<interleaved = 1>", 2, [2, 4, 4]),
        ("<rotary_embedding_dim = 2>", 1, [2, 4, 4]),
    ],
)
def test_pairs_turned_by_position(attributes: str, half: int, sizes: list[int]) -> None:
    model = net(
        f"""(float[n, 5, 6] x, int64[n, 5] at) => (float[n, 5, 5] y)
        <{KNOWN.format(kv=16)}, {SIZES.format(n=4)}, float[9, {half}] cos, float[9, {half}] sin> {{
            zero = Sub(at, at) {SPLIT}
            qr = RotaryEmbedding{attributes}(q, cos, sin, zero) kr = RotaryEmbedding{attributes}(k, cos, sin, zero)
            a = Attention(qr, kr, v) {JOIN}
        }}""",
        opset=23,
        ir=10,
    )
    assert group_sizes(model) == sizes
    checked = assert_cut_equals_mask(model)
    assert checked.shape("wq")[1] < 16


def test_tokens_that_are_counted_stay() -> None:
    """Layers over tokens in front of causal scores and of angles by position."""
    for attributes, made in (("<is_causal = 1>", "x1"), ("", "xr")):
        model = net(
            f"""(float[n, 4, 3, 4] x, float[n, 4, 5, 4] k, float[n, 4, 5, 4] v) => (float[n, 4, 5, 4] y)
            <float[5, 3] w0, float[5, 5] w1, float[1, 5, 2] cos, float[1, 5, 2] sin> {{
                x1 = MatMul(w0, x) xr = RotaryEmbedding(x1, cos, sin)
                a = Attention{attributes}({made}, k, v) y = MatMul(w1, a)
            }}""",
            opset=23,
            ir=10,
        )
        assert group_sizes(model, approximate=True) == []
        assert frozen_reasons(model)["x1"].startswith("x1:2 meets")


def test_tokens_of_keys_and_values_are_cut_only_where_inexact_results_may_be() -> None:
    """Few tokens made of many, as Linformer has them: the softmax runs over those that are left."""
    model = net(
        """(float[1, 2, 5, 4] q, float[1, 2, 4, 9] x) => (float[1, 2, 5, 4] y)
        <float[9, 6] w, float[4] s, float[4, 4] o> {
            t = MatMul(x, w)
            k = Transpose<perm = [0, 1, 3, 2]>(t)
            v = Mul(k, s)
            a = Attention(q, k, v)
            y = MatMul(a, o)
        }""",
        opset=23,
        ir=10,
    )
    assert 6 not in group_sizes(model)
    assert frozen_reasons(model)["t"] == "k:2 meets Attention (node 3), which normalises over this axis"
    assert 6 in group_sizes(model, approximate=True)
    assert_cut_equals_mask(model, approximate=True)
