"""Conv: dense, grouped, depthwise, with a multiplier; one, two and three dimensions; with and without bias."""

import numpy as np
import onnx
import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize(("space", "kernel"), [("9", "3"), ("6, 7", "3, 2"), ("4, 5, 6", "1, 2, 3")])
def test_dense_layers_of_any_dimension_are_cut_on_both_sides(space: str, kernel: str) -> None:
    ones = ", ".join("1" for _ in kernel.split(","))
    free = ", ".join(f"s{axis}" for axis in range(len(kernel.split(","))))
    model = net(f"""(float[n, 3, {space}] x) => (float[n, 4, {free}] y)
        <float[8, 3, {kernel}] w0, float[8] b0, float[6, 8, {ones}] w1, float[4, 6, {ones}] w2> {{
            c = Conv(x, w0, b0)
            r = Sigmoid(c)
            d = Conv(r, w1)
            y = Conv(d, w2)
        }}""")
    assert group_sizes(model) == [6, 8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0")[:2] == (4, 3)
    assert checked.shape("b0") == (4,)
    assert checked.shape("w1")[:2] == (3, 4)
    assert checked.shape("w2")[:2] == (4, 3)


def test_graph_outputs_and_inputs_freeze_with_their_names() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 8, 5, 5] c, float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> { c = Conv(x, w0) y = Conv(c, w1) }""")
    assert group_sizes(model) == []
    assert frozen_reasons(model) == {
        "c": "c:1 is part of the graph output 'c'",
        "y": "y:1 is part of the graph output 'y'",
    }


def test_grouped_layer_keeps_equal_groups_on_each_side() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[12, 3, 1, 1] w0, float[9, 4, 3, 3] w1, float[9] b1, float[4, 9, 1, 1] w2> {
            c = Conv(x, w0)
            r = Relu(c)
            d = Conv<group = 3, pads = [1, 1, 1, 1]>(r, w1, b1)
            y = Conv(d, w2)
        }""")
    assert group_sizes(model) == [3, 4]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (6, 3, 1, 1)
    assert checked.shape("w1") == (3, 2, 3, 3)
    assert checked.attribute("d", "group") == 3


def test_grouped_layer_may_be_left_with_one_column_and_one_filter_per_group() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[4, 3, 1, 1] w0, float[4, 2, 1, 1] w1, float[4, 4, 1, 1] w2> {
            c = Conv(x, w0)
            d = Conv<group = 2>(c, w1)
            y = Conv(d, w2)
        }""")
    assert group_sizes(model) == [2, 2]
    assert assert_cut_equals_mask(model).shape("w1") == (2, 1, 1, 1)


def test_depthwise_layer_ties_its_channels_through() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8, 1, 3, 3] w1, float[8] b1, float[4, 8, 1, 1] w2> {
            c = Conv(x, w0)
            r = HardSwish(c)
            d = Conv<group = 8, pads = [1, 1, 1, 1]>(r, w1, b1)
            s = Sigmoid(d)
            y = Conv(s, w2)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model, ratio=0.25)
    assert checked.shape("w1") == (6, 1, 3, 3)
    assert checked.attribute("d", "group") == 6


def test_depthwise_multiplier_removes_all_filters_of_a_channel() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[6, 3, 1, 1] w0, float[18, 1, 3, 3] w1, float[18] b1, float[4, 18, 1, 1] w2> {
            c = Conv(x, w0)
            d = Conv<group = 6, pads = [1, 1, 1, 1]>(c, w1, b1)
            r = Relu(d)
            y = Conv(r, w2)
        }""")
    assert group_sizes(model) == [6]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1") == (9, 1, 3, 3)
    assert checked.attribute("d", "group") == 3


def test_depthwise_layer_on_the_input_is_frozen_with_it() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[6, 1, 1, 1] w0, float[4, 6, 1, 1] w1> { c = Conv<group = 3>(x, w0) y = Conv(c, w1) }""")
    assert group_sizes(model) == []
    assert frozen_reasons(model)["c"] == "x:1 is part of the graph input 'x'"


def test_a_single_output_channel_is_not_depthwise() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 1, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[1, 8, 1, 1] w1, float[1] b1> { c = Conv(x, w0) y = Conv(c, w1, b1) }""")
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("w1") == (1, 4, 1, 1)


def test_a_single_input_channel_is_not_depthwise() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[1, 3, 1, 1] w0, float[8, 1, 1, 1] w1, float[4, 8, 1, 1] w2> {
            c = Conv(x, w0)
            d = Conv(c, w1)
            y = Conv(d, w2)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_a_weight_given_from_outside_freezes_what_it_meets() -> None:
    model = net("""(float[n, 3, 5, 5] x, float[4, 8, 1, 1] w1) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0> { c = Conv(x, w0) y = Conv(c, w1) }""")
    assert frozen_reasons(model) == {
        "c": "w1:1 is part of the graph input 'w1'",
        "y": "y:1 is part of the graph output 'y'",
    }


def test_a_weight_modulated_at_run_time_is_cut_with_its_channels() -> None:
    """As in generators steered by a style: filters scaled by input channel, then brought to unit length each."""
    model = net("""(float[1, 6] z, float[1, 3, 5, 5] x) => (float[1, 4, 5, 5] y)
        <float[6, 8] s0, float[8, 3, 1, 1] w0, float[7, 8, 3, 3] w1, float[4, 7, 1, 1] w2, int64[4] s = {1, 8, 1, 1},
         int64[3] each = {1, 2, 3}> {
            c = Conv(x, w0)
            style = Gemm(z, s0)
            scale = Reshape(style, s)
            m = Mul(w1, scale)
            squares = Mul(m, m)
            length = ReduceSum(squares, each)
            root = Sqrt(length)
            w = Div(m, root)
            d = Conv<pads = [1, 1, 1, 1]>(c, w)
            r = Relu(d)
            y = Conv(r, w2)
        }""")
    assert group_sizes(model) == [7, 8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1") == (3, 4, 3, 3)
    assert checked.shape("s0") == (6, 4)


@pytest.mark.parametrize(("group", "sizes"), [(1, [6, 8]), (2, [3, 4])])
def test_constant_data_under_a_kernel_computed_at_run_time(group: int, sizes: list[int]) -> None:
    """As in generators that begin with a learned constant: the oracle has to mask the kernel."""
    columns = 8 // group
    model = net(f"""(float[1, 6] z) => (float[1, 4, 5, 5] y)
        <float[6, {columns}] s0, float[1, 8, 5, 5] k, float[6, {columns}, 3, 3] w1, float[4, 6, 1, 1] w2,
         int64[4] s = {{1, {columns}, 1, 1}}> {{
            style = Gemm(z, s0)
            scale = Reshape(style, s)
            w = Mul(w1, scale)
            d = Conv<pads = [1, 1, 1, 1], group = {group}>(k, w)
            r = Relu(d)
            y = Conv(r, w2)
        }}""")
    assert group_sizes(model) == sizes
    checked = assert_cut_equals_mask(model)
    assert checked.shape("k") == (1, 4, 5, 5)


def test_a_template_slides_over_each_channel() -> None:
    """As in trackers: the features of one picture are the depthwise filters of another one's."""
    model = net("""(float[1, 3, 6, 6] x, float[1, 3, 3, 3] z) => (float[1, 4, 4, 4] y)
        <float[8, 3, 1, 1] w0, float[8, 3, 1, 1] w1, int64[4] s = {8, 1, 3, 3}, float[4, 8, 1, 1] w2> {
            c = Conv(x, w0)
            t = Conv(z, w1)
            w = Reshape(t, s)
            d = Conv<group = 8>(c, w)
            y = Conv(d, w2)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.attribute("d", "group") == 4
    assert list(checked.value("s")) == [4, 1, 3, 3]


def test_keep_masks_choose_the_very_channels() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[3, 3, 1, 1] w0, float[3] b0, float[4, 3, 1, 1] w1> { c = Conv(x, w0, b0) y = Conv(c, w1) }""")
    checked = assert_cut_equals_mask(model, {"c": np.array([True, False, True])})
    before = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(checked.value("w0"), before["w0"][[0, 2]])
    np.testing.assert_array_equal(checked.value("b0"), before["b0"][[0, 2]])
    np.testing.assert_array_equal(checked.value("w1"), before["w1"][:, [0, 2]])


@pytest.mark.parametrize(("offset_group", "group", "sizes"), [(1, 1, [6, 8]), (2, 1, [4, 6]), (2, 2, [3, 4])])
def test_displaced_samples_keep_equal_offset_groups(offset_group: int, group: int, sizes: list[int]) -> None:
    model = net(
        f"""(float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[{18 * offset_group}, 3, 3, 3] wo, float[{9 * offset_group}, 3, 3, 3] wm,
         float[6, {8 // group}, 3, 3] w1, float[6] b1, float[4, 6, 1, 1] w2> {{
            c = Conv(x, w0)
            o = Conv<pads = [1, 1, 1, 1]>(x, wo)
            l = Conv<pads = [1, 1, 1, 1]>(x, wm)
            m = Sigmoid(l)
            d = DeformConv<pads = [1, 1, 1, 1], group = {group}, offset_group = {offset_group}>(c, w1, o, b1, m)
            y = Conv(d, w2)
        }}""",
        opset=19,
        ir=9,
    )
    assert group_sizes(model) == sizes
    for layer in ("o", "l"):
        assert "says how its samples are displaced and weighed" in frozen_reasons(model)[layer]
    assert_cut_equals_mask(model)


def test_a_layer_whose_width_nothing_tells_is_left_alone() -> None:
    """Nothing infers the shape of a DeformConv that the file does not record."""
    model = net(
        """(float[n, 3, 5, 5] x, float[n, 18, 5, 5] o) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[6, 8, 3, 3] w1, float[4, 6, 1, 1] w2> {
            c = Conv(x, w0)
            d = DeformConv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(c, o, w1)
            y = Conv(d, w2)
        }""",
        opset=19,
    )
    assert "d" not in {group.name for group in analysed(model).groups}
