"""Einsum: layers, products of activations, sums, and what its equation may not hold."""

import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize("equation", ["btc,co->bto", "b t c, c o -> b t o"])
def test_a_constant_letter_makes_channels_and_a_vanishing_one_sums_them(equation: str) -> None:
    model = net(f"""(float[n, 3, 5] x) => (float[n, 3, 4] y) <float[5, 8] w0, float[8, 4] w1> {{
            c = Einsum<equation = "{equation}">(x, w0)
            r = Sigmoid(c)
            y = Einsum<equation = "{equation}">(r, w1)
        }}""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (5, 4)
    assert checked.shape("w1") == (4, 4)
    assert checked.analysis.macs() == 3 * 5 * 8 + 3 * 8 * 4
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs() == 3 * 5 * 4 + 3 * 4 * 4


def test_a_factor_on_other_letters_does_not_turn_a_scale_into_a_layer() -> None:
    model = net("""(float[n, 3, 5] x, float[n, 3] z) => (float[n, 3, 4] y)
        <float[5, 8] w0, float[8] s, float[8, 4] w1> {
            c = MatMul(x, w0)
            d = Einsum<equation = "bto,o,bt->bto">(c, s, z)
            y = MatMul(d, w1)
        }""")
    checked = assert_cut_equals_mask(model)
    assert [group.layers for group in checked.analysis.groups if group.prunable] == [("c",)]


def test_without_an_arrow_the_letters_that_come_once_stay() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3, 4] y) <float[5, 8] w0, float[8, 4] w1> {
            c = Einsum<equation = "abk,kz">(x, w0)
            r = Sigmoid(c)
            y = MatMul(r, w1)
        }""")
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("w0") == (5, 4)


@pytest.mark.parametrize(
    ("scores", "mix", "permuted"),
    [("bhid,bhjd->bhij", "bhij,bhjd->bhid", True), ("bthd,bshd->bhts", "bhts,bshd->bthd", False)],
)
def test_attention_cuts_the_columns_of_the_heads(scores: str, mix: str, permuted: bool) -> None:
    move = "Transpose<perm = [0, 2, 1, 3]>" if permuted else "Identity"
    model = net(f"""(float[n, t, 6] x) => (float[n, t, 5] y)
        <float[6, 12] wq, float[6, 12] wk, float[6, 12] wv, float[12, 5] wo,
         int64[4] heads = {{0, 0, 3, 4}}, int64[3] flat = {{0, 0, 12}}, float scale = {{0.5}}> {{
            q0 = MatMul(x, wq)
            k0 = MatMul(x, wk)
            v0 = MatMul(x, wv)
            q1 = Reshape(q0, heads)
            k1 = Reshape(k0, heads)
            v1 = Reshape(v0, heads)
            q = {move}(q1)
            k = {move}(k1)
            v = {move}(v1)
            s = Einsum<equation = "{scores}">(q, k)
            z = Mul(s, scale)
            p = Softmax<axis = 3>(z)
            m0 = Einsum<equation = "{mix}">(p, v)
            m = {move}(m0)
            f = Reshape(m, flat)
            y = MatMul(f, wo)
        }}""")
    assert group_sizes(model) == [3, 4, 4]
    for tokens in (3, 7):
        checked = assert_cut_equals_mask(model, free={"t": tokens})
    assert checked.shape("wq") == checked.shape("wk") == checked.shape("wv") == (6, 2)
    assert checked.shape("wo") == (2, 5)
    # Copies where the targets of two groups differ, else the shared target itself; both hold two columns.
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def test_a_letter_that_vanishes_from_one_operand_alone_is_summed() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3] y) <float[5, 8] w0> {
            c = MatMul(x, w0)
            r = Sigmoid(c)
            y = Einsum<equation = "bto->bt">(r)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_a_letter_on_both_sides_scales_channels_and_makes_none() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3, 4] y) <float[5, 8] w0, float[8] s, float[8, 4] w1> {
            c = MatMul(x, w0)
            d = Einsum<equation = "bto,o->bto">(c, s)
            y = MatMul(d, w1)
        }""")
    checked = assert_cut_equals_mask(model)
    assert [group.layers for group in checked.analysis.groups if group.prunable] == [("c",)]
    assert checked.shape("s") == (4,)


@pytest.mark.parametrize(
    ("equation", "reason"),
    [
        ("...c,co->...o", "its equation has an ellipsis"),
        ("tt,co->tco", "its equation repeats a letter within one operand"),
    ],
)
def test_other_equations_freeze(equation: str, reason: str) -> None:
    tokens = "c, c" if equation[0] == "t" else "n, 8"
    model = net(f"""(float[8, 5] x) => (float[{"8, 8, 4" if equation[0] == "t" else "8, 4"}] y)
        <float[5, 8] w0, float[8, 4] w1> {{
            c = MatMul(x, w0)
            y = Einsum<equation = "{equation}">(c, w1)
        }}""")
    assert tokens
    assert frozen_reasons(model)["c"] == f"c:1 meets Einsum (node 1): {reason}"
    assert group_sizes(model) == []
