"""Reshape and Flatten: channels as factors of wider axes, shuffles, and targets computed from Shape nodes."""

import numpy as np
import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net

from onnxprune.ops.reshape import Factor, common_factors

CLASSIFIER = """(float[BATCH, 3, 3, 3] x) => (float[BATCH, 4] y)
    <float[8, 3, 1, 1] w0, float[72, 4] w1, int64[2] target = {TARGET}> {
        c = Conv(x, w0)
        r = Sigmoid(c)
        f = FLATTEN
        y = Gemm(f, w1)
    }"""


def classifier(line: str, *, batch: str = "n", target: str = "0, -1") -> str:
    text = CLASSIFIER.replace("BATCH", batch).replace("TARGET", target)
    return text.replace("FLATTEN", line)


@pytest.mark.parametrize("line", ["Flatten(r)", "Flatten<axis = -3>(r)", "Flatten<axis = 1>(r)"])
@pytest.mark.parametrize("batch", ["n", "2"])
def test_flattened_channels_take_their_whole_stretch(line: str, batch: str) -> None:
    model = net(classifier(line, batch=batch))
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1") == (36, 4)
    assert not checked.result.edits.operands


@pytest.mark.parametrize(
    ("target", "batch", "after"),
    [
        ("0, -1", "n", [0, -1]),
        ("-1, 72", "n", [-1, 36]),
        ("0, 72", "n", [0, 36]),
        ("2, 72", "2", [2, 36]),
        ("2, -1", "2", [2, -1]),
    ],
)
def test_the_target_of_a_reshape_gets_the_new_width(target: str, batch: str, after: list[int]) -> None:
    model = net(classifier("Reshape(r, target)", batch=batch, target=target))
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert list(checked.value("target")) == after


def test_flattening_in_front_of_the_channels_needs_a_fixed_batch() -> None:
    text = """(float[BATCH, 3, 2, 2] x) => (float[1, 4] y) <float[6, 3, 1, 1] w0, float[48, 4] w1> {
            c = Conv(x, w0)
            f = Flatten<axis = 0>(c)
            y = MatMul(f, w1)
        }"""
    model = net(text.replace("BATCH", "2"))
    assert group_sizes(model) == [6]
    assert assert_cut_equals_mask(model).shape("w1") == (24, 4)
    free = net(text.replace("BATCH", "n").replace("float[48, 4]", "float[24, 4]"))
    assert group_sizes(free) == []


def test_flattening_behind_the_channels_keeps_them() -> None:
    model = net("""(float[1, 3, 2, 2] x) => (float[6, 5] y) <float[6, 3, 1, 1] w0, float[6, 6] w1, float[4, 5] w2> {
            c = Conv(x, w0)
            f = Flatten<axis = 2>(c)
            m = MatMul(w1, f)
            y = MatMul(m, w2)
        }""")
    assert group_sizes(model) == [6]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("target", ["0, {g}, {k}, 5, 5", "-1, {g}, {k}, 5, 5", "0, {g}, -1, 5, 5"])
def test_channel_shuffle_removes_equal_columns_of_all_groups(groups: int, target: str) -> None:
    columns = 12 // groups
    shuffled = target.format(g=groups, k=columns)
    model = net(f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[12, 3, 1, 1] w0, float[12, {columns}, 1, 1] w1, float[12, 1, 3, 3] w2, float[4, 12, 1, 1] w3,
         int64[5] t = {{{shuffled}}}, int64[4] back = {{0, 12, 5, 5}}> {{
            c = Conv(x, w0)
            d = Conv<group = {groups}>(c, w1)
            s = Reshape(d, t)
            u = Transpose<perm = [0, 2, 1, 3, 4]>(s)
            v = Reshape(u, back)
            e = Conv<group = 12, pads = [1, 1, 1, 1]>(v, w2)
            y = Conv(e, w3)
        }}""")
    assert group_sizes(model) == [columns, columns]
    checked = assert_cut_equals_mask(model)
    assert checked.attribute("d", "group") == groups
    assert checked.value("t")[1] == groups
    assert checked.value("back")[1] == checked.attribute("e", "group")


def test_a_shuffle_between_grouped_layers_ties_the_blocks_of_the_second() -> None:
    """After the shuffle, columns of the first layer's groups lie in a row: those are the groups of the second one."""
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[12, 3, 1, 1] w0, float[12, 4, 1, 1] w1, float[9, 4, 1, 1] w2, float[4, 9, 1, 1] w3,
         int64[5] t = {0, 3, 4, 5, 5}, int64[4] back = {0, 12, 5, 5}> {
            c = Conv(x, w0)
            d = Conv<group = 3>(c, w1)
            s = Reshape(d, t)
            u = Transpose<perm = [0, 2, 1, 3, 4]>(s)
            v = Reshape(u, back)
            e = Conv<group = 3>(v, w2)
            y = Conv(e, w3)
        }""")
    # The first layer ties equal columns of its groups, the second ties every fourth position: all of them together.
    assert 3 in group_sizes(model)
    assert 4 in group_sizes(model)
    assert_cut_equals_mask(model)


def test_an_axis_is_cut_along_both_of_its_factors() -> None:
    model = net("""(float[1, 3, 4] x) => (float[1, 5, 4] y)
        <float[6, 3, 1] w0, int64[4] t = {1, 2, 3, 4}, float[2, 2] w1, int64[3] back = {1, 6, 4}, float[5, 6, 1] w2> {
            c = Conv(x, w0)
            s = Reshape(c, t)
            p = Transpose<perm = [0, 3, 2, 1]>(s)
            q = MatMul(p, w1)
            r = Transpose<perm = [0, 3, 2, 1]>(q)
            b = Reshape(r, back)
            y = Conv(b, w2)
        }""")
    # b:1 holds the 2 columns that w1 makes and the 3 positions of c in each; w1 sums over the 2 rows of c.
    assert group_sizes(model) == [2, 2, 3]
    assert frozen_reasons(model).keys() == {"y"}
    keep = {"c": np.array([True, False, True])}
    checked = assert_cut_equals_mask(model, keep)
    assert list(checked.value("t")) == [1, 2, 2, 4]
    assert list(checked.value("back")) == [1, 4, 4]
    one = np.array([True, False])
    checked = assert_cut_equals_mask(model, {**keep, "q": one, "c#2": ~one})
    assert list(checked.value("t")) == [1, 1, 2, 4]
    assert list(checked.value("back")) == [1, 2, 4]
    assert checked.shape("w0") == (2, 3, 1)
    assert checked.shape("w1") == (1, 1)
    assert checked.shape("w2") == (5, 2, 1)
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()
    assert checked.analysis.params(checked.keep) == analysed(checked.model).params()


def test_channels_that_are_whole_groups_stay_so_on_the_way_back() -> None:
    model = net("""(float[n, 2, 3, 5] x) => (float[n, 2, 3, 5] y)
        <float[4, 2, 1, 1] w0, int64[3] flat = {0, 12, 5}, int64[4] back = {0, 4, 3, 5}, float[2, 4, 1, 1] w1> {
            c = Conv(x, w0)
            f = Reshape(c, flat)
            r = Sigmoid(f)
            g = Reshape(r, back)
            y = Conv(g, w1)
        }""")
    assert group_sizes(model) == [4]
    checked = assert_cut_equals_mask(model)
    assert list(checked.value("flat")) == [0, 6, 5]
    assert list(checked.value("back")) == [0, 2, 3, 5]


def test_factors_that_hold_for_batch_one_alone_are_no_factors() -> None:
    model = net("""(float[n, 3, 4] x) => (float[5, m] y)
        <float[6, 3, 1] w0, int64[2] t = {6, -1}, float[5, 6] w1> {
            c = Conv(x, w0)
            f = Reshape(c, t)
            y = MatMul(w1, f)
        }""")
    assert "Reshape (node 1)" in frozen_reasons(model)["c"]


def test_heads_and_their_widths_cannot_both_carry_channels() -> None:
    model = net("""(float[1, 5, 6] x) => (float[1, 5, 4] y, float[1, 2, 5, 7] z)
        <float[6, 8] w0, int64[4] t = {1, 5, 2, 4}, int64[3] back = {1, 5, 8}, float[8, 4] w1, float[4, 4] w2,
         float[4, 7] w3, int64[4] t2 = {1, 5, 4, 2}, float[2, 7] w4> {
            c = MatMul(x, w0)
            s = Reshape(c, t)
            h = MatMul(s, w2)
            r = Transpose<perm = [0, 2, 1, 3]>(h)
            z = MatMul(r, w3)
            y = MatMul(c, w1)
        }""")
    # Columns of every head (4 of them, 2 positions each), and the columns that w2 makes.
    assert group_sizes(model) == [4, 4]
    assert_cut_equals_mask(model)


def test_every_reshape_of_a_tensor_counts() -> None:
    model = net("""(float[1, 3, 5] x) => (float[1, 2, 4, 5] y, float[1, 6, 2, 5] z)
        <float[12, 3, 1] w0, int64[4] ta = {1, 2, 6, 5}, int64[4] tb = {1, 6, 2, 5}, float[4, 6] w1, float[6, 6] w2> {
            c = Conv(x, w0)
            a = Reshape(c, ta)
            y = MatMul(w1, a)
            b = Reshape(c, tb)
            t = Transpose<perm = [0, 2, 1, 3]>(b)
            u = MatMul(w2, t)
            z = Transpose<perm = [0, 2, 1, 3]>(u)
        }""")
    # The innermost factor of b would reach z. With halves of a and pairs of b tied three channels are left.
    assert group_sizes(model) == [3]
    checked = assert_cut_equals_mask(model)
    width = checked.shape("w0")[0] // 4
    assert list(checked.value("ta")) == [1, 2, 2 * width, 5]
    assert list(checked.value("tb")) == [1, 2 * width, 2, 5]


def test_batch_and_channels_may_share_an_axis_where_both_are_fixed() -> None:
    model = net("""(float[2, 3, 4] x) => (float[2, 5, 4] y)
        <float[6, 3, 1] w0, int64[2] t = {12, 4}, int64[3] back = {2, 6, 4}, float[4, 4] w1, float[5, 6, 1] w2> {
            c = Conv(x, w0)
            f = Reshape(c, t)
            m = MatMul(f, w1)
            b = Reshape(m, back)
            y = Conv(b, w2)
        }""")
    assert 6 in group_sizes(model)
    checked = assert_cut_equals_mask(model)
    assert list(checked.value("t")) == [6, 4]
    assert list(checked.value("back")) == [2, 3, 4]
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def test_a_target_from_shape_follows_by_itself_or_is_written_down() -> None:
    model = net("""(float[n, 3, 3, 3] x) => (float[n, 4] y)
        <float[8, 3, 1, 1] w0, float[72, 4] w1, int64 zero = {0}, int64[1] front = {0}, int64[1] rest = {72}> {
            c = Conv(x, w0)
            s = Shape(c)
            n = Gather(s, zero)
            m = Unsqueeze(n, front)
            t = Concat<axis = 0>(m, rest)
            f = Reshape(c, t)
            y = MatMul(f, w1)
        }""")
    assert group_sizes(model) == [8]
    for batch in (1, 2, 5):
        assert_cut_equals_mask(model, free={"n": batch})


def test_a_target_with_minus_one_from_shape_needs_no_change() -> None:
    model = net("""(float[n, 3, 3, 3] x) => (float[n, 4] y)
        <float[8, 3, 1, 1] w0, float[72, 4] w1, int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}> {
            c = Conv(x, w0)
            s = Shape(c)
            n = Slice(s, zero, one)
            t = Concat<axis = 0>(n, rest)
            f = Reshape(c, t)
            y = MatMul(f, w1)
        }""")
    assert group_sizes(model) == [8]
    assert not assert_cut_equals_mask(model).result.edits.operands


def test_a_target_known_only_at_run_time_freezes() -> None:
    model = net("""(float[n, 3, 3, 3] x, int64[2] t) => (float[a, b] y) <float[8, 3, 1, 1] w0> {
            c = Conv(x, w0)
            y = Reshape(c, t)
        }""")
    assert "Reshape (node 1)" in frozen_reasons(model)["c"]


def test_reshapes_whose_result_cannot_be_inferred_freeze() -> None:
    model = net(
        """(float[2, 3, 3, 3] x) => (float[2, 4] y) <float[8, 3, 1, 1] w0, float[72, 4] w1> {
            c = Conv(x, w0)
            f = Reshape<shape = [2, 72]>(c)
            y = MatMul(f, w1)
        }""",
        opset=1,
        ir=3,
    )
    assert frozen_reasons(model)["c"] == "c:1 meets Reshape (node 1): its shapes are unknown"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ((1, 8, 3, 3), (1, 72), [Factor(1, 1, 8, 1, 9), Factor(2, 1, 3, 1, 3), Factor(3, 1, 3, 1, 1)]),
        ((1, 12, 5), (1, 3, 4, 5), [Factor(1, 1, 3, 4, 1), Factor(1, 2, 4, 1, 1), Factor(2, 3, 5, 1, 1)]),
        ((6, 4), (4, 6), []),
        ((4, 6), (2, 12), [Factor(0, 0, 2, 2, 1), Factor(0, 1, 2, 1, 6), Factor(1, 1, 6, 1, 1)]),
        ((2, 3), (5,), []),
        ((0, 3), (0,), []),
    ],
)
def test_common_factors_of_two_shapes(source: tuple[int, ...], target: tuple[int, ...], expected: list[Factor]) -> None:
    assert common_factors(source, target) == expected


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("spaces_first", [True, False])
def test_a_pixel_shuffle_written_as_a_view_keeps_its_blocks(scale: int, spaces_first: bool) -> None:
    """Both sides of a block become space, which stays; the channels are the factor beside them."""
    width, size = 5 * scale * scale, 4 * scale
    view, order = (
        (f"{scale}, {scale}, 5", "0, 3, 4, 1, 5, 2") if spaces_first else (f"5, {scale}, {scale}", "0, 1, 4, 2, 5, 3")
    )
    model = net(f"""(float[n, 3, 4, 4] x) => (float[n, 2, {size}, {size}] y)
        <float[{width}, 3, 3, 3] w0, float[2, 5, 3, 3] w1, int64[6] s = {{0, {view}, 4, 4}},
         int64[4] t = {{0, 5, {size}, {size}}}> {{
            a = Conv<pads = [1, 1, 1, 1]>(x, w0)
            b = Reshape(a, s)
            c = Transpose<perm = [{order}]>(b)
            d = Reshape(c, t)
            y = Conv<pads = [1, 1, 1, 1]>(d, w1)
        }}""")
    assert group_sizes(model) == [5]
    assert assert_cut_equals_mask(model).shape("w0") == (3 * scale * scale, 3, 3, 3)
