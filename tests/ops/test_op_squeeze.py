"""Squeeze and Unsqueeze: axes of size 1 come and go, and channels keep their place among the rest."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize(
    ("squeeze", "unsqueeze", "opset"),
    [
        ("Squeeze<axes = [2, -1]>(p)", "Unsqueeze<axes = [2, 3]>(r)", 11),
        ("Squeeze(p, space)", "Unsqueeze(r, back)", 13),
    ],
)
def test_axes_are_an_attribute_or_an_input(squeeze: str, unsqueeze: str, opset: int) -> None:
    model = net(
        f"""(float[n, 3, 5, 5] x) => (float[n, 4, 1, 1] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, int64[2] space = {{-2, 3}}, int64[2] back = {{-1, 2}}> {{
            c = Conv(x, w0)
            p = GlobalAveragePool(c)
            s = {squeeze}
            r = Sigmoid(s)
            u = {unsqueeze}
            y = Conv(u, w1)
        }}""",
        opset=opset,
        ir=7,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_a_dropped_axis_before_the_channels_moves_them() -> None:
    model = net("""(float[1, 3, 5, 5] x) => (float[1, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, int64[1] first = {0}> {
            c = Conv(x, w0)
            s = Squeeze(c, first)
            r = Sigmoid(s)
            u = Unsqueeze(r, first)
            y = Conv(u, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_all_axes_of_size_one_are_dropped_where_none_are_named() -> None:
    model = net("""(float[2, 3, 5, 5] x) => (float[2, 4] y) <float[8, 3, 1, 1] w0, float[8, 4] w1> {
            c = Conv(x, w0)
            p = GlobalMaxPool(c)
            s = Squeeze(p)
            y = MatMul(s, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_unnamed_axes_and_a_free_batch_freeze() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4] y) <float[8, 3, 1, 1] w0, float[8, 4] w1> {
            c = Conv(x, w0)
            p = GlobalMaxPool(c)
            s = Squeeze(p)
            y = MatMul(s, w1)
        }""")
    assert group_sizes(model) == []
    assert "Squeeze (node 2)" in frozen_reasons(model)["c"]


def test_channels_of_width_one_may_be_dropped() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 5, 4] y)
        <float[8, 3, 1, 1] w0, float[1, 8, 1, 1] w1, float[5, 4] w2, int64[1] one = {1}> {
            c = Conv(x, w0)
            d = Conv(c, w1)
            s = Squeeze(d, one)
            y = MatMul(s, w2)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_an_axis_whose_free_size_may_be_one_freezes_an_unnamed_squeeze() -> None:
    model = net("""(float[2, 3, h, 5] x) => (float[2, 8, a, b] y) <float[8, 3, 1, 1] w0> {
            c = Conv(x, w0)
            y = Squeeze(c)
        }""")
    assert group_sizes(model) == []
