"""Tensors made from a size: constants are as wide as they have to be, random numbers and tables stay."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


def test_zeros_as_wide_as_the_channels_follow_them() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 16, 1, 1] w1> {
            c = Conv(x, w0)
            shape = Shape(c)
            zeros = ConstantOfShape<value = float[1] {2.5}>(shape)
            s = Add(c, zeros)
            j = Concat<axis = 1>(s, zeros)
            y = Conv(j, w1)
        }""")
    assert group_sizes(model) == [8]
    for batch in (1, 3):
        assert not assert_cut_equals_mask(model, free={"n": batch}).result.edits.operands


def test_a_width_beside_a_free_batch_is_replaced_before_its_concat() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, int64[3] rest = {8, 5, 5}, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            batch = Shape<start = 0, end = 1>(x)
            shape = Concat<axis = 0>(batch, rest)
            zeros = ConstantOfShape(shape)
            s = Add(c, zeros)
            y = Conv(s, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model, free={"n": 3})
    assert list(checked.node("shape").input) == ["batch", "rest_cut1"]
    assert checked.value("rest_cut1").tolist() == [4, 5, 5]


def test_a_width_computed_at_run_time_freezes() -> None:
    model = net("""(float[2, 3, 5] x, int64[3] s) => (float[2, 4, 5] y) <float[8, 3, 1] w0, float[4, 8, 1] w1> {
            c = Conv(x, w0)
            zeros = ConstantOfShape(s)
            d = Add(c, zeros)
            y = Conv(d, w1)
        }""")
    assert "c" in frozen_reasons(model)


@pytest.mark.parametrize(
    "line", ["r = RandomNormalLike(c)", "r = RandomUniform<shape = [2, 8, 5]>()", "r = Bernoulli(p)"]
)
def test_random_numbers_freeze(line: str) -> None:
    model = net(f"""(float[2, 3, 5] x) => (float[2, 4, 5] y) <float[8, 3, 1] w0, float[4, 8, 1] w1> {{
            c = Conv(x, w0)
            p = Sigmoid(c)
            {line}
            d = Mul(c, r)
            y = Conv(d, w1)
        }}""")
    assert "gets random numbers" in frozen_reasons(model)["c"]


def test_a_unit_matrix_freezes() -> None:
    model = net("""(float[3, 6] x) => (float[3, 4] y) <float[6, 3] w0, float[3, 4] w1> {
            c = MatMul(x, w0)
            e = EyeLike(c)
            d = Add(c, e)
            y = MatMul(d, w1)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets EyeLike (node 1), where it is numbered by its places"


def test_a_skip_connection_of_no_channels() -> None:
    """Decoders concatenate what an encoder has none of: zero channels, made from the batch and the image's size."""
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, int64[3] rest = {0, 5, 5}, float[4, 8, 1, 1] w1> {
            a = Conv(x, w0)
            batch = Shape<start = 0, end = 1>(x)
            shape = Concat<axis = 0>(batch, rest)
            none = ConstantOfShape(shape)
            c = Concat<axis = 1>(a, none)
            y = Conv(c, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model, free={"n": 3})
