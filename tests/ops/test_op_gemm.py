"""Gemm: every combination of transpositions, factors and shapes of the added matrix."""

import itertools

import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize(("trans", "beta"), list(itertools.product([0, 1], [None, 0.5, 0.0])))
def test_layers_are_cut_on_both_sides(trans: int, beta: float | None) -> None:
    first, second = ("8, 5", "4, 8") if trans else ("5, 8", "8, 4")
    factors = "" if beta is None else f", alpha = 2.5, beta = {beta}"
    model = net(f"""(float[n, 5] x) => (float[n, 4] y)
        <float[{first}] w0, float[8] b0, float[{second}] w1, float[4] b1> {{
            c = Gemm<transB = {trans}{factors}>(x, w0, b0)
            r = Sigmoid(c)
            y = Gemm<transB = {trans}{factors}>(r, w1, b1)
        }}""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == ((4, 5) if trans else (5, 4))
    assert checked.shape("w1") == ((4, 4))
    assert checked.shape("b0") == (4,)
    assert checked.shape("b1") == (4,)


@pytest.mark.parametrize(
    ("bias", "after"),
    [("", ()), ("1", (1,)), ("8", (4,)), ("1, 8", (1, 4)), ("2, 8", (2, 4)), ("2, 1", (2, 1)), ("1, 1", (1, 1))],
)
def test_the_added_matrix_may_have_any_shape_that_broadcasts(bias: str, after: tuple[int, ...]) -> None:
    model = net(
        f"""(float[2, 5] x) => (float[2, 4] y) <float[5, 8] w0, float[{bias}] b0, float[8, 4] w1> {{
            c = Gemm(x, w0, b0)
            y = Gemm(c, w1)
        }}""".replace("float[] ", "float ")
    )
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("b0") == after


def test_the_added_matrix_may_be_an_activation() -> None:
    model = net("""(float[n, 5] x) => (float[n, 4] y) <float[5, 8] w0, float[5, 8] w1, float[8, 4] w2> {
            c = Gemm(x, w0)
            d = Gemm(x, w1, c)
            y = Gemm(d, w2)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("trans_b", [0, 1])
def test_the_constant_may_stand_on_the_left(trans_b: int) -> None:
    model = net(f"""(float[5, 6] x) => (float[4, 6] y) <float[8, 5] w0, float[4, 8] w1, float[8, 1] b0> {{
            t = Transpose(x)
            c = Gemm<transB = {trans_b}>(w0, {"t" if trans_b else "x"}, b0)
            y = Gemm(w1, c)
        }}""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (4, 5)
    assert checked.shape("b0") == (4, 1)
    assert checked.shape("w1") == (4, 4)
    assert checked.analysis.macs() == 8 * 5 * 6 + 4 * 8 * 6


def test_a_transposed_left_factor_swaps_its_axes() -> None:
    model = net("""(float[5, 3] x) => (float[3, 4] y) <float[8, 5] w0, float[8, 4] w1> {
            c = Gemm(w0, x)
            y = Gemm<transA = 1>(c, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_rows_may_carry_channels_and_count_in_the_costs() -> None:
    model = net("""(float[1, 3, 4] x) => (float[1, 2, 5] y)
        <float[6, 3, 1] w0, int64[2] flat = {6, 4}, int64[3] back = {1, 6, 5}, float[4, 5] w1, float[2, 6, 1] w2> {
            c = Conv(x, w0)
            f = Reshape(c, flat)
            g = Gemm(f, w1)
            h = Reshape(g, back)
            y = Conv(h, w2)
        }""")
    assert group_sizes(model) == [6]
    checked = assert_cut_equals_mask(model)
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def test_two_activations_hand_on_their_channels() -> None:
    model = net("""(float[5, 6] x, float[7, 6] z) => (float[4, 4] y)
        <float[6, 8] w0, float[6, 8] w1, float[6, 3] w2, float[3] b, float[4, 5] u, float[3, 4] w3> {
            q = Gemm(x, w0)
            k = Gemm(z, w1)
            s = Gemm<transB = 1>(q, k)
            r = Gemm(z, w2)
            a = Gemm(s, r, b)
            p = Gemm(u, a)
            y = Gemm(p, w3)
        }""")
    assert group_sizes(model) == [3, 8]
    assert assert_cut_equals_mask(model).shape("b") == (1,)
    products = 5 * 8 * 7 + 5 * 7 * 3
    assert analysed(model).macs() == 5 * 6 * 8 + 7 * 6 * 8 + 7 * 6 * 3 + products + 4 * 5 * 3 + 4 * 3 * 4


def test_a_factor_given_from_outside_freezes_what_it_meets() -> None:
    model = net("""(float[n, 5] x, float[8, 4] z) => (float[n, 4] y) <float[5, 8] w0> {
            c = Gemm(x, w0)
            y = Gemm(c, z)
        }""")
    reason = "z:0 is part of the graph input 'z'"
    assert frozen_reasons(model) == {"c": reason}
