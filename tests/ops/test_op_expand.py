"""Expand and Tile: copies along an axis go with their source."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize(
    ("target", "expected"), [("2, 8, 4, 5", [2, 4, 4, 5]), ("8, 1, 1", [4, 1, 1]), ("1, 4, 5", [1, 4, 5])]
)
def test_the_target_of_expand_gets_the_new_width(target: str, expected: list[int]) -> None:
    size = len(target.split(","))
    shape = "2, 8, 4, 5" if "4, 5" in target else "2, 8, 1, 1"
    model = net(f"""(float[2, 3, 1, 1] x) => (float[{shape.replace("8", "6")}] y)
        <float[8, 3, 1, 1] w0, int64[{size}] t = {{{target}}}, float[6, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            e = Expand(c, t)
            r = Sigmoid(e)
            y = Conv(r, w1)
        }}""")
    assert group_sizes(model) == [8]
    assert list(assert_cut_equals_mask(model).value("t")) == expected


def test_copies_of_one_channel_are_not_the_channel_they_meet() -> None:
    """A single gate is spread over the channels: cutting those changes how often it is copied."""
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[1, 3, 1, 1] wg, int64[4] t = {1, 8, 1, 1}, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            g = Conv(x, wg)
            e = Expand(g, t)
            d = Mul(c, e)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert list(checked.value("t")) == [1, 4, 1, 1]
    assert checked.shape("wg") == (1, 3, 1, 1)


def test_a_target_read_with_shape_is_handed_on() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            p = GlobalAveragePool(c)
            s = Shape(c)
            e = Expand(p, s)
            d = Mul(c, e)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    for batch in (1, 3):
        assert not assert_cut_equals_mask(model, free={"n": batch}).result.edits.operands


def test_a_target_computed_at_run_time_freezes() -> None:
    model = net("""(float[2, 3, 1] x, int64[3] t) => (float[2, 4, 5] y) <float[8, 3, 1] w0, float[4, 8, 1] w1> {
            c = Conv(x, w0)
            e = Expand(c, t)
            y = Conv(e, w1)
        }""")
    assert (
        frozen_reasons(model)["c"] == "e:1 meets Expand (node 1), where it is expanded to a size computed at run time"
    )


@pytest.mark.parametrize(("repeats", "channels", "kept"), [("1, 1, 2, 2", 8, 4), ("1, 3, 1, 1", 24, 12)])
def test_copies_of_tile_go_with_their_source(repeats: str, channels: int, kept: int) -> None:
    model = net(f"""(float[n, 3, 5, 5] x) => (float[n, 4, h, w] y)
        <float[8, 3, 1, 1] w0, int64[4] t = {{{repeats}}}, float[4, {channels}, 1, 1] w1> {{
            c = Conv(x, w0)
            e = Tile(c, t)
            r = Sigmoid(e)
            y = Conv(r, w1)
        }}""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1") == (4, kept, 1, 1)
    assert [int(n) for n in checked.value("t")] == [int(n) for n in repeats.split(",")]


def test_copies_of_one_channel_by_tile_are_not_the_channel_they_meet() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[1, 3, 1, 1] wg, int64[4] t = {1, 8, 1, 1}, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            g = Conv(x, wg)
            e = Tile(g, t)
            d = Mul(c, e)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert list(checked.value("t")) == [1, 4, 1, 1]
    assert checked.shape("wg") == (1, 3, 1, 1)


def test_a_free_axis_may_be_tiled_beside_the_channels() -> None:
    model = net("""(float[n, t, 3] x) => (float[n, u, 4] y)
        <float[3, 8] w0, int64[3] r = {1, 2, 1}, float[8, 4] w1> {
            c = MatMul(x, w0)
            e = Tile(c, r)
            y = MatMul(e, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_channels_repeated_a_free_number_of_times_are_frozen() -> None:
    model = net("""(float[n, 3, 1] x) => (float[n, m, 1] y)
        <float[8, 3, 1] w0, int64[1] one = {1}, int64[1] zero = {0}> {
            c = Conv(x, w0)
            s = Shape(x)
            b = Slice(s, zero, one)
            r = Concat<axis = 0>(one, b, one)
            y = Tile(c, r)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets Tile (node 4), where it is repeated along this axis"
