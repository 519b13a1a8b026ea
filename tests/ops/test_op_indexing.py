"""Scattering and gathering by tables of indices: channels beside the addressed axes, and grids of constants."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize("op", ["ScatterElements", "Scatter"])
def test_channels_beside_the_scattered_axis_pass_through(op: str) -> None:
    model = net(
        f"""(float[2, 3, 6] x, float[2, 3, 2] u, int64[2, 8, 2] i) => (float[2, 4, 6] y)
        <float[8, 3, 1] w0, float[8, 3, 1] v0, float[4, 8, 1] w1> {{
            c = Conv(x, w0)
            d = Conv(u, v0)
            zero = Sub(i, i)
            s = {op}<axis = 2>(c, zero, d)
            y = Conv(s, w1)
        }}""",
        opset=10 if op == "Scatter" else 17,
        ir=4,
    )
    # the table of indices is an input here, and as wide as the channels
    assert group_sizes(model) == []
    assert "graph input 'i'" in frozen_reasons(model)["c"]


def test_indices_spread_over_the_channels_are_cut_with_them() -> None:
    """So are levels of a pyramid put together: the index of a region is expanded to the shape of its features."""
    model = net("""(float[2, 3, 5, 5] x, float[4, 4] boxes, int64[4] l) => (float[4, 6] y)
        <float[8, 3, 1, 1] w0, float[8, 3, 1, 1] w1, float[32, 6] w2, int64[1] zero = {0}, int64[4] all = {-1, 1, 1, 1},
         int64[4] level = {0, 1, 1, 0}> {
            c = Conv(x, w0)
            d = Conv(x, w1)
            nothing = Sub(l, l)
            levels = Add(nothing, level)
            first = Equal(levels, zero)
            other = Not(first)
            i0 = NonZero(first)
            i1 = NonZero(other)
            j0 = Squeeze(i0, zero)
            j1 = Squeeze(i1, zero)
            r0 = Gather<axis = 0>(boxes, j0)
            r1 = Gather<axis = 0>(boxes, j1)
            b0 = Sub(j0, j0)
            b1 = Sub(j1, j1)
            p0 = RoiAlign<output_height = 2, output_width = 2, sampling_ratio = 2>(c, r0, b0)
            p1 = RoiAlign<output_height = 2, output_width = 2, sampling_ratio = 2>(d, r1, b1)
            rois = Shape<start = 0, end = 1>(boxes)
            rest = Shape<start = 1>(p0)
            shape = Concat<axis = 0>(rois, rest)
            empty = ConstantOfShape(shape)
            k0 = Reshape(j0, all)
            k1 = Reshape(j1, all)
            s0 = Shape(p0)
            s1 = Shape(p1)
            e0 = Expand(k0, s0)
            e1 = Expand(k1, s1)
            f0 = ScatterElements<axis = 0>(empty, e0, p0)
            f1 = ScatterElements<axis = 0>(f0, e1, p1)
            f = Flatten(f1)
            y = Gemm(f, w2)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (4, 3, 1, 1)
    assert checked.shape("w1") == (4, 3, 1, 1)
    assert checked.shape("w2") == (16, 6)
    assert not checked.result.edits.operands


def test_updates_may_cover_the_first_channels_only() -> None:
    model = net("""(float[2, 3, 6] x, float[2, 3, 6] u) => (float[2, 4, 6] y)
        <float[8, 3, 1] w0, float[5, 3, 1] v0, int64[2, 5, 6] i, float[4, 8, 1] w1> {
            c = Conv(x, w0)
            d = Conv(u, v0)
            s = ScatterElements<axis = 2>(c, i, d)
            y = Conv(s, w1)
        }""")
    # the others touch nothing of the updates, and so count apart
    assert group_sizes(model) == [3, 5]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("i") == (2, 3, 6)


def test_the_axis_that_elements_are_gathered_from_is_frozen() -> None:
    model = net("""(float[2, 3, 6] x) => (float[2, 4, 6] y) <float[8, 3, 1] w0, int64[2, 5, 6] i, float[4, 5, 1] w1> {
            c = Conv(x, w0)
            g = GatherElements<axis = 1>(c, i)
            y = Conv(g, w1)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets GatherElements (node 1), where it is addressed by indices"


def test_a_scattered_channel_axis_is_frozen_on_both_sides() -> None:
    model = net("""(float[2, 3, 6] x, float[2, 3, 6] u) => (float[2, 4, 6] y)
        <float[8, 3, 1] w0, float[5, 3, 1] v0, int64[2, 5, 6] i, float[4, 8, 1] w1> {
            c = Conv(x, w0)
            d = Conv(u, v0)
            s = ScatterElements<axis = 1>(c, i, d)
            y = Conv(s, w1)
        }""")
    reasons = frozen_reasons(model)
    assert reasons["c"] == "c:1 meets ScatterElements (node 2), where it is addressed by indices"
    assert reasons["d"] == "i:1 meets ScatterElements (node 2), where it is addressed by indices"


def test_gathered_elements_carry_channels_beside_their_axis() -> None:
    model = net("""(float[2, 3, 6] x) => (float[2, 4, 3] y) <float[8, 3, 1] w0, int64[2, 8, 3] i, float[4, 8, 1] w1> {
            c = Conv(x, w0)
            g = GatherElements<axis = 2>(c, i)
            y = Conv(g, w1)
        }""")
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("i") == (2, 4, 3)


def test_channels_behind_the_addressed_axes_pass_through() -> None:
    model = net("""(float[4, 6, 3] x, float[2, 3] u, int64[2, 2] i) => (float[4, 6, 5] y)
        <float[3, 8] w0, float[3, 8] v0, float[8, 5] w1> {
            c = MatMul(x, w0)
            d = MatMul(u, v0)
            zero = Sub(i, i)
            s = ScatterND(c, zero, d)
            y = MatMul(s, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_picked_cells_carry_their_channels() -> None:
    model = net("""(float[4, 6, 3] x, int64[2, 2] i) => (float[2, 5] y) <float[3, 8] w0, float[8, 5] w1> {
            c = MatMul(x, w0)
            zero = Sub(i, i)
            g = GatherND(c, zero)
            y = MatMul(g, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_batches_of_picked_cells_carry_their_channels() -> None:
    model = net("""(float[4, 6, 3] x) => (float[4, 2, 5] y) <float[3, 8] w0, int64[4, 2, 1] i, float[8, 5] w1> {
            c = MatMul(x, w0)
            g = GatherND<batch_dims = 1>(c, i)
            y = MatMul(g, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


SHIFT = """(float[2, 3, 5] x, float[2, 3, 5] z) => (float[2, 4, 5] y)
    <float[8, 3, 1] w0, float[3, 3, 1] v0, INDICES, float[4, 8, 1] w1> {
        c = Conv(x, w0)
        d = Conv(z, v0)
        first = Transpose<perm = [1, 0, 2]>(c)
        part = Transpose<perm = [1, 0, 2]>(d)
        s = ScatterND(first, i, part)
        t = Transpose<perm = [1, 0, 2]>(s)
        y = Conv(t, w1)
    }"""


@pytest.mark.parametrize("places", ["1, 2, 6", "-7, 2, -2", "6, 1, 2"])
def test_channels_overwritten_at_constant_places(places: str) -> None:
    """So a slice that is assigned to comes out of exporters, as where parts of the channels are shifted in time."""
    model = net(SHIFT.replace("INDICES", f"int64[3, 1] i = {{{places}}}"))
    assert group_sizes(model) == [3, 5]
    for ratio in (0.34, 0.6):
        checked = assert_cut_equals_mask(model, ratio=ratio)
        assert checked.shape("i") == (checked.shape("v0")[0], 1)
    for name in checked.keep:
        assert_cut_equals_mask(model, {name: checked.keep[name]})


def test_a_grid_of_places_in_two_axes() -> None:
    grid = ", ".join(f"{batch}, {channel}" for batch in (0, 1) for channel in (5, 0, 3))
    model = net(f"""(float[2, 3, 5] x, float[2, 3, 5] z) => (float[2, 4, 5] y)
        <float[8, 3, 1] w0, float[3, 3, 1] v0, int64[2, 3, 2] i = {{{grid}}}, float[4, 8, 1] w1> {{
            c = Conv(x, w0)
            d = Conv(z, v0)
            s = ScatterND(c, i, d)
            y = Conv(s, w1)
        }}""")
    assert group_sizes(model) == [3, 5]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("i")[2] == 2


def test_rows_picked_by_constants_are_tied_to_their_source() -> None:
    model = net("""(float[6, 3] x) => (float[4, 5] y)
        <float[8, 6] w0, int64[3, 1] i = {7, 0, 3}, float[4, 3] w1, float[3, 5] w2> {
            c = MatMul(w0, x)
            g = GatherND(c, i)
            d = MatMul(w1, g)
            y = MatMul(d, w2)
        }""")
    assert group_sizes(model) == [3, 5]
    assert_cut_equals_mask(model)


def test_a_single_cell_keeps_its_place() -> None:
    model = net("""(float[6, 3] x) => (float[3] z, float[4, 3] y) <float[8, 6] w0, int64[1] i = {5}, float[4, 8] w1> {
            c = MatMul(w0, x)
            z = GatherND(c, i)
            y = MatMul(w1, c)
        }""")
    assert group_sizes(model) == [7]
    assert "c:0 meets GatherND (node 1), where it has this position picked by number" in frozen_reasons(model).values()
    checked = assert_cut_equals_mask(model)
    assert checked.value("i")[0] < 5


def test_places_that_form_no_grid_are_frozen() -> None:
    model = net("""(float[2, 3, 5] x, float[2, 3, 5] z) => (float[2, 4, 5] y)
        <float[8, 3, 1] w0, float[3, 3, 1] v0, int64[2, 3, 2] i = {0, 5, 0, 0, 0, 3, 1, 5, 1, 1, 1, 3},
         float[4, 8, 1] w1> {
            c = Conv(x, w0)
            d = Conv(z, v0)
            s = ScatterND(c, i, d)
            y = Conv(s, w1)
        }""")
    assert group_sizes(model) == []
    assert "is addressed by indices" in frozen_reasons(model)["c"]
    assert "is addressed by indices" in frozen_reasons(model)["d"]


def test_updates_that_all_land_in_one_place_stay() -> None:
    model = net("""(float[2, 3, 5] x, float[2, 3, 5] z) => (float[2, 4, 5] y)
        <float[8, 3, 1] w0, float[3, 3, 1] v0, int64[3, 1] i = {2, 2, 2}, float[4, 8, 1] w1> {
            c = Conv(x, w0)
            d = Conv(z, v0)
            first = Transpose<perm = [1, 0, 2]>(c)
            part = Transpose<perm = [1, 0, 2]>(d)
            s = ScatterND<reduction = "add">(first, i, part)
            t = Transpose<perm = [1, 0, 2]>(s)
            y = Conv(t, w1)
        }""")
    assert group_sizes(model) == [7]
    assert "is addressed by indices" in frozen_reasons(model)["d"]
    assert_cut_equals_mask(model)
