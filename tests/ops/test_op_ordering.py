"""Ops that order, select or number positions: their axis stays, the others pass through."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


def between(lines: str, *, constants: str = "", width: int = 8, out: str = "n, 4, 5, 5") -> str:
    return f"""(float[n, 3, 5, 5] x) => (float[{out}] y)
        <float[8, 3, 1, 1] w0, {constants} float[4, {width}, 1, 1] w1> {{
            c = Conv(x, w0)
            {lines}
            y = Conv(d, w1)
        }}"""


@pytest.mark.parametrize(
    ("lines", "constants", "out", "opset"),
    [
        ("d, i = TopK<axis = 3>(c, k)", "int64[1] k = {2},", "n, 4, 5, 2", 17),
        ("v, i = TopK<axis = 2>(c, k) d = Cast<to = 1>(i)", "int64[1] k = {2},", "n, 4, 2, 5", 17),
        ("d = CumSum(c, a)", "int64 a = {2},", "n, 4, 5, 5", 17),
        ("d = CumProd(c, a)", "int64 a = {-1},", "n, 4, 5, 5", 26),
        ("d = Compress<axis = 3>(c, b)", "bool[4] b = {1, 0, 0, 1},", "n, 4, 5, 2", 17),
        ("d = Trilu(c)", "", "n, 4, 5, 5", 17),
        ("d = Hardmax<axis = 3>(c)", "", "n, 4, 5, 5", 17),
    ],
)
def test_channels_beside_the_axis_pass_through(lines: str, constants: str, out: str, opset: int) -> None:
    model = net(between(lines, constants=constants, out=out), opset=opset, ir=10)
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize(
    ("lines", "constants", "width", "reason", "opset"),
    [
        (
            "d, i = TopK<axis = 1>(c, k)",
            "int64[1] k = {3},",
            3,
            "TopK (node 1), where it is ranked, and its largest are kept",
            17,
        ),
        ("d = CumProd(c, a)", "int64 a = {1},", 8, "CumProd (node 1), where it is multiplied up along this axis", 26),
    ],
)
def test_their_own_axis_is_frozen(lines: str, constants: str, width: int, reason: str, opset: int) -> None:
    model = net(between(lines, constants=constants, width=width), opset=opset, ir=10)
    assert frozen_reasons(model)["c"] == f"c:1 meets {reason}"


@pytest.mark.parametrize("flags", ["", "<exclusive = 1>", "<reverse = 1>"])
def test_running_sums_over_channels_are_exact(flags: str) -> None:
    model = net(between(f"d = CumSum{flags}(c, a)", constants="int64 a = {1},"))
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_picks_of_a_condition_freeze() -> None:
    model = net("""(float[n, 3, 5, 5] x, bool[8] b) => (float[n, k, 5, 5] y) <float[8, 3, 1, 1] w0> {
            c = Conv(x, w0)
            y = Compress<axis = 1>(c, b)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets Compress (node 1), where it is picked by a condition"


def test_compress_of_everything_is_refused() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[k] y) <float[8, 3, 1, 1] w0, bool[3] b = {1, 0, 1}> {
            c = Conv(x, w0)
            y = Compress(c, b)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets Compress (node 1): it picks positions of the flattened tensor"


def test_sequences_are_reversed_beside_the_channels() -> None:
    model = net("""(float[3, 5, 6] x) => (float[3, 5, 4] y) <float[6, 8] w0, int64[3] t = {1, 5, 3}, float[8, 4] w1> {
            c = MatMul(x, w0)
            d = ReverseSequence<batch_axis = 0, time_axis = 1>(c, t)
            y = MatMul(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_channels_as_sequences_are_frozen_along_time_and_tied_to_the_lengths() -> None:
    text = """(float[6, 5] x) => (float[4, 5] y) <float[8, 6] w0, int64[LENGTH] t, float[4, 8] w1> {
            c = MatMul(w0, x)
            d = ReverseSequence<batch_axis = BATCH, time_axis = TIME>(c, t)
            y = MatMul(w1, d)
        }"""
    time = net(text.replace("LENGTH", "5").replace("BATCH", "1").replace("TIME", "0"))
    assert frozen_reasons(time)["c"] == "c:0 meets ReverseSequence (node 1), where it is reversed up to a length"
    batch = net(
        text.replace("int64[LENGTH] t", "int64[8] t = {1, 2, 3, 4, 5, 1, 2, 3}")
        .replace("BATCH", "0")
        .replace("TIME", "1")
    )
    assert group_sizes(batch) == [8]
    assert assert_cut_equals_mask(batch).shape("t") == (4,)


def test_classes_of_a_one_hot_are_frozen_and_its_numbers_pass_through() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 4, 5, 6] y)
        <float[8, 3, 1] w0, int64 depth = {6}, float[2] values = {0, 1}, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            i = Cast<to = 7>(c)
            d = OneHot<axis = 3>(i, depth, values)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)
    model = net("""(float[n, 5, 3] x) => (float[n, 6, 5, 4] y)
        <float[3, 8] w0, int64 depth = {6}, float[2] values = {0, 1}, float[8, 4] w1> {
            c = MatMul(x, w0)
            i = Cast<to = 7>(c)
            d = OneHot<axis = 1>(i, depth, values)
            y = MatMul(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)
    model = net("""(float[n, 3] x) => (float[n, 3, 4] y)
        <int64 depth = {6}, float[2] values = {0, 1}, float[6, 5] w0, float[5, 4] w1> {
            i = Cast<to = 7>(x)
            d = OneHot<axis = 1>(i, depth, values)
            t = Transpose<perm = [0, 2, 1]>(d)
            c = MatMul(t, w0)
            y = MatMul(c, w1)
        }""")
    assert group_sizes(model) == [5]
    assert_cut_equals_mask(model)


def test_matrices_with_diagonals_are_frozen() -> None:
    model = net("""(float[3, 6] x) => (float[3, 4] y, float d) <float[6, 3] w0, float[3, 4] w1> {
            c = MatMul(x, w0)
            t = Trilu(c)
            d = Det(c)
            y = MatMul(t, w1)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets Trilu (node 1), where it is cut along a diagonal"


def test_determinants_beside_the_channels() -> None:
    model = net("""(float[n, 3, 2, 2] x) => (float[n, 4] y) <float[8, 3, 1, 1] w0, float[8, 4] w1> {
            c = Conv(x, w0)
            d = Det(c)
            y = MatMul(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize(
    ("op", "attributes", "result"), [("NonZero", "", "int64[3, k]"), ("Unique", "<axis = 1>", "float[n, k, 5]")]
)
def test_what_is_searched_is_frozen(op: str, attributes: str, result: str) -> None:
    model = net(f"""(float[n, 3, 5] x) => ({result} y) <float[8, 3, 1] w0> {{
            c = Conv(x, w0)
            y = {op}{attributes}(c)
        }}""")
    reason = f"{op} (node 1), where it is searched, and what is found is numbered"
    assert frozen_reasons(model)["c"] == f"c:1 meets {reason}"


def test_scores_that_boxes_are_suppressed_by_are_frozen() -> None:
    model = net("""(float[1, 3, 5] x, float[1, 5, 4] b) => (int64[k, 3] y) <float[8, 3, 1] w0, int64[1] m = {2}> {
            c = Conv(x, w0)
            y = NonMaxSuppression(b, c, m)
        }""")
    reason = "c:1 meets NonMaxSuppression (node 1), where it is searched, and what is found is numbered"
    assert frozen_reasons(model)["c"] == reason
