"""MatMul with one constant factor, of every rank on either side."""

import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize("batch", ["", "n, ", "n, 3, ", "n, 2, 3, "])
def test_the_constant_on_the_right_makes_columns(batch: str) -> None:
    model = net(f"""(float[{batch}5] x) => (float[{batch}4] y) <float[5, 8] w0, float[8] b0, float[8, 4] w1> {{
            c = MatMul(x, w0)
            d = Add(c, b0)
            r = Sigmoid(d)
            y = MatMul(r, w1)
        }}""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (5, 4)
    assert checked.shape("b0") == (4,)
    assert checked.shape("w1") == (4, 4)


@pytest.mark.parametrize(
    ("batch", "tail", "vectors"), [("", "", 1), ("", ", 6", 6), ("n, ", ", 6", 6), ("n, 3, ", ", 6", 18)]
)
def test_the_constant_on_the_left_makes_rows(batch: str, tail: str, vectors: int) -> None:
    model = net(f"""(float[{batch}5{tail}] x) => (float[{batch}4{tail}] y) <float[8, 5] w0, float[4, 8] w1> {{
            c = MatMul(w0, x)
            r = Sigmoid(c)
            y = MatMul(w1, r)
        }}""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (4, 5)
    assert checked.shape("w1") == (4, 4)
    assert checked.analysis.macs() == (8 * 5 + 4 * 8) * vectors


def test_a_constant_vector_sums_the_channels_away() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3] y) <float[5, 8] w0, float[8] v> {
            c = MatMul(x, w0)
            y = MatMul(c, v)
        }""")
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("v") == (4,)


def test_a_constant_vector_on_the_left_sums_the_rows_away() -> None:
    model = net("""(float[n, 5, 6] x) => (float[n, 6] y) <float[8, 5] w0, float[8] v> {
            c = MatMul(w0, x)
            y = MatMul(v, c)
        }""")
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("v") == (4,)


def test_a_runtime_vector_meets_a_batch_of_matrices() -> None:
    model = net("""(float[5] x) => (float[3, 4] y) <float[3, 5, 8] w0, float[8, 4] w1> {
            c = MatMul(x, w0)
            y = MatMul(c, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (3, 5, 4)
    assert checked.analysis.macs() == 3 * 5 * 8 + 3 * 8 * 4


@pytest.mark.parametrize(("batch", "axis"), [("1", 0), ("6", 0)])
def test_batched_constants_follow_the_batch_axis_only_where_they_have_it(batch: str, axis: int) -> None:
    model = net(f"""(float[n, 3, 4, 5] x) => (float[n, 2, 4, 7] y)
        <float[6, 3, 1, 1] w0, float[{batch}, 5, 7] w1, float[2, 6, 1, 1] w2> {{
            c = Conv(x, w0)
            d = MatMul(c, w1)
            y = Conv(d, w2)
        }}""")
    assert group_sizes(model) == [6]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1")[axis] == (3 if batch == "6" else 1)
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def test_a_matrix_may_meet_a_batch_of_constants() -> None:
    model = net("""(float[4, 5] x) => (float[3, 4, 2] y) <float[5, 6] w0, float[3, 6, 8] w1, float[8, 2] w2> {
            c = MatMul(x, w0)
            d = MatMul(c, w1)
            y = MatMul(d, w2)
        }""")
    assert group_sizes(model) == [6, 8]
    assert assert_cut_equals_mask(model).shape("w1") == (3, 3, 4)


def test_token_mixing_is_cut_on_both_axes_and_costs_follow() -> None:
    model = net("""(float[n, 6, 5] x) => (float[n, 6, 5] y)
        <float[5, 8] w0, float[6, 4] w1, float[4, 6] w2, float[8, 5] w3> {
            a = MatMul(x, w0)
            at = Transpose<perm = [0, 2, 1]>(a)
            b = MatMul(at, w1)
            r = Relu(b)
            c = MatMul(r, w2)
            ct = Transpose<perm = [0, 2, 1]>(c)
            y = MatMul(ct, w3)
        }""")
    assert group_sizes(model) == [4, 8]
    checked = assert_cut_equals_mask(model)
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def test_channels_that_meet_a_graph_input_are_frozen() -> None:
    model = net("""(float[n, 3, 5] x, float[n, 8, 4] z) => (float[n, 3, 4] y) <float[5, 8] w0> {
            c = MatMul(x, w0)
            y = MatMul(c, z)
        }""")
    assert frozen_reasons(model) == {"c": "z:1 is part of the graph input 'z'"}
