"""Softmax and its kin: frozen over their own axis, exact along every other."""

import pytest
from nets import analysed, assert_cut_equals_mask, group_sizes, net

OPS = ["Softmax", "LogSoftmax", "Hardmax"]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axis", ["<axis = 1>", "<axis = -3>"])
def test_the_normalised_axis_is_frozen_as_approximate(op: str, axis: str) -> None:
    model = net(f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            d = {op}{axis}(c)
            y = Conv(d, w1)
        }}""")
    group = analysed(model).by_name["c"]
    assert group.frozen == f"c:1 meets {op} (node 1), which normalises over this axis"
    assert group.approximate
    assert not group.prunable


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("axis", "opset"), [("<axis = 3>", 13), ("", 13), ("<axis = 2>", 13), ("<axis = 2>", 11)])
def test_other_axes_pass_through(op: str, axis: str, opset: int) -> None:
    model = net(
        f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            d = {op}{axis}(c)
            y = Conv(d, w1)
        }}""",
        opset=opset,
        ir=7,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("axis", ["", "<axis = 1>", "<axis = -3>", "<axis = 0>"])
def test_before_opset_13_all_axes_from_the_named_one_on_are_normalised(axis: str) -> None:
    text = f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            d = Softmax{axis}(c)
            y = Conv(d, w1)
        }}"""
    assert group_sizes(net(text, opset=11, ir=7)) == []
