"""Reductions: over space they pass the channels through; over channels only plain sums are exact."""

import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net

SUMS = ["ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2"]
OTHERS = ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp"]


@pytest.mark.parametrize("op", [*SUMS, *OTHERS])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_space_is_reduced_and_channels_pass(op: str, keepdims: int) -> None:
    """Axes as an attribute up to opset 17 (12 for ReduceSum)."""
    back = "" if keepdims else "f = Unsqueeze<axes = [2, 3]>(e)"
    model = net(
        f"""(float[n, 3, 4, 4] x) => (float[n, 4, 1, 1] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            p = Sigmoid(c)
            e = {op}<axes = [2, -1], keepdims = {keepdims}>(p)
            {back}
            y = Conv({"e" if keepdims else "f"}, w1)
        }}""",
        opset=11,
        ir=7,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("op", [*SUMS, *OTHERS])
def test_axes_may_be_an_input(op: str) -> None:
    model = net(
        f"""(float[n, 3, 4, 4] x) => (float[n, 4] y)
        <float[8, 3, 1, 1] w0, float[8, 4] w1, int64[2] space = {{-2, 3}}> {{
            c = Conv(x, w0)
            p = Sigmoid(c)
            e = {op}<keepdims = 0>(p, space)
            y = MatMul(e, w1)
        }}""",
        opset=18,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_dropping_an_axis_before_the_channels_moves_them() -> None:
    model = net("""(float[2, 3, 5, 4] x) => (float[2, 5, 6] y)
        <float[4, 8] w0, float[8, 6] w1> {
            c = MatMul(x, w0)
            e = ReduceMax<axes = [1], keepdims = 0>(c)
            y = MatMul(e, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("op", SUMS)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_sums_over_channels_are_exact(op: str, keepdims: int) -> None:
    out = "n, 1, 5, 5" if keepdims else "n, 5, 5"
    model = net(
        f"""(float[n, 3, 5, 5] x) => (float[{out}] y)
        <float[8, 3, 1, 1] w0, int64[1] channels = {{1}}> {{
            c = Conv(x, w0)
            s = Sigmoid(c)
            y = {op}<keepdims = {keepdims}>(s, channels)
        }}""",
        opset=18,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("axes", ["", ", none"])
def test_no_axes_means_all_of_them(axes: str) -> None:
    model = net(f"""(float[2, 3, 5, 5] x) => (float y) <float[8, 3, 1, 1] w0, int64[0] none = {{}}> {{
            c = Conv(x, w0)
            s = Sigmoid(c)
            y = ReduceSum<keepdims = 0>(s{axes})
        }}""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean"])
def test_no_axes_may_also_mean_none(op: str) -> None:
    model = net(
        f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, int64[0] none = {{}}> {{
            c = Conv(x, w0)
            e = {op}<noop_with_empty_axes = 1>(c, none)
            y = Conv(e, w1)
        }}""",
        opset=18,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("op", OTHERS)
def test_other_reductions_over_channels_are_frozen_as_approximate(op: str) -> None:
    model = net(f"""(float[n, 3, 5, 5] x) => (float[n, 1, 5, 5] y) <float[8, 3, 1, 1] w0> {{
            c = Conv(x, w0)
            y = {op}<axes = [1]>(c)
        }}""")
    group = analysed(model).by_name["c"]
    assert group.approximate
    assert group.frozen == f"c:1 meets {op} (node 1), which reduces over this axis in a way that depends on its width"


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_arg_over_channels_freezes_and_over_space_passes(op: str) -> None:
    text = """(float[n, 3, 5, 5] x) => (float[n, 4, 1, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            i = OP<axis = 2>(c)
            d = Cast<to = 1>(i)
            y = Conv(d, w1)
        }""".replace("OP", op)
    model = net(text)
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)
    over = net(f"""(float[n, 3, 5, 5] x) => (int64[n, 1, 5, 5] y) <float[8, 3, 1, 1] w0> {{
            c = Conv(x, w0)
            y = {op}<axis = 1>(c)
        }}""")
    assert f"{op} (node 1), which reduces over this axis" in frozen_reasons(over)["c"]


def test_axes_that_are_computed_freeze() -> None:
    model = net(
        """(float[n, 3, 5, 5] x, int64[1] k) => (float[n, 8, 1, 5] y) <float[8, 3, 1, 1] w0> {
            c = Conv(x, w0)
            y = ReduceSum(c, k)
        }""",
        opset=18,
    )
    assert frozen_reasons(model)["c"].startswith("c:1 meets ReduceSum (node 1): ")


@pytest.mark.parametrize("axes", ["[1]", "[1, 2]", "[2]"])
def test_a_reduced_axis_before_the_channels_may_be_kept_at_one(axes: str) -> None:
    model = net(f"""(float[2, 3, 5, 4] x) => (float[2, a, b, 6] y) <float[4, 8] w0, float[8, 6] w1> {{
            c = MatMul(x, w0)
            e = ReduceMean<axes = {axes}, keepdims = 1>(c)
            y = MatMul(e, w1)
        }}""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_the_number_of_a_position_means_another_one_after_a_cut(op: str) -> None:
    """Classes must not go, not even where inexact cuts are allowed."""
    model = net(f"""(float[n, 3, 5] x) => (int64[n, 1, 5] y) <float[8, 3, 1] w0> {{
            c = Conv(x, w0)
            y = {op}<axis = 1>(c)
        }}""")
    assert group_sizes(model, approximate=True) == []
    reason = f"c:1 meets {op} (node 1), which reduces over this axis in a way that depends on its width"
    assert frozen_reasons(model, approximate=True) == {"c": reason}
    assert not analysed(model).by_name["c"].approximate
