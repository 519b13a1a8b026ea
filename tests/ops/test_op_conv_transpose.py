"""ConvTranspose, whose weight has the input channels first: dense, grouped, depthwise, with a multiplier."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize(
    ("space", "kernel", "ones"), [("7", "3", "1"), ("5, 4", "2, 3", "1, 1"), ("3, 3, 2", "2, 2, 2", "1, 1, 1")]
)
def test_dense_layers_of_any_dimension_are_cut_on_both_sides(space: str, kernel: str, ones: str) -> None:
    free = ", ".join(f"s{axis}" for axis in range(len(ones.split(","))))
    model = net(f"""(float[n, 3, {space}] x) => (float[n, 4, {free}] y)
        <float[8, 3, {ones}] w0, float[8, 6, {kernel}] w1, float[6] b1, float[6, 4, {ones}] w2> {{
            c = Conv(x, w0)
            r = Sigmoid(c)
            d = ConvTranspose(r, w1, b1)
            s = Sigmoid(d)
            y = ConvTranspose(s, w2)
        }}""")
    assert group_sizes(model) == [6, 8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1")[:2] == (4, 3)
    assert checked.shape("b1") == (3,)
    assert checked.shape("w2")[:2] == (3, 4)


def test_strides_and_output_padding_stay() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 10, 10] y)
        <float[8, 3, 1, 1] w0, float[8, 4, 3, 3] w1> {
            c = Conv(x, w0)
            y = ConvTranspose<strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]>(c, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_grouped_layer_keeps_equal_groups_on_each_side() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 7, 7] y)
        <float[12, 3, 1, 1] w0, float[12, 5, 3, 3] w1, float[15] b1, float[4, 15, 1, 1] w2> {
            c = Conv(x, w0)
            d = ConvTranspose<group = 3>(c, w1, b1)
            r = Sigmoid(d)
            y = Conv(r, w2)
        }""")
    assert group_sizes(model) == [4, 5]
    checked = assert_cut_equals_mask(model, ratio=0.4)
    assert checked.shape("w1") == (6, 3, 3, 3)
    assert checked.shape("b1") == (9,)
    assert checked.attribute("d", "group") == 3


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_layer_ties_its_channels_through(multiplier: int) -> None:
    filters = 6 * multiplier
    model = net(f"""(float[n, 3, 5, 5] x) => (float[n, 4, 7, 7] y)
        <float[6, 3, 1, 1] w0, float[6, {multiplier}, 3, 3] w1, float[{filters}] b1, float[4, {filters}, 1, 1] w2> {{
            c = Conv(x, w0)
            d = ConvTranspose<group = 6>(c, w1, b1)
            r = Relu(d)
            y = Conv(r, w2)
        }}""")
    assert group_sizes(model) == [6]
    checked = assert_cut_equals_mask(model, ratio=1 / 3)
    assert checked.shape("w1") == (4, multiplier, 3, 3)
    assert checked.attribute("d", "group") == 4


def test_a_single_output_channel_is_not_depthwise() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 1, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8, 1, 1, 1] w1> { c = Conv(x, w0) y = ConvTranspose(c, w1) }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_a_layer_on_the_graph_output_is_frozen() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 8, 5, 5] y) <float[3, 8, 1, 1] w> { y = ConvTranspose(x, w) }""")
    assert frozen_reasons(model) == {"y": "y:1 is part of the graph output 'y'"}


def test_a_weight_modulated_at_run_time_is_cut_with_its_channels() -> None:
    model = net("""(float[1, 6] z, float[1, 3, 5, 5] x) => (float[1, 4, 6, 6] y)
        <float[6, 8] s0, float[8, 3, 1, 1] w0, float[8, 7, 2, 2] w1, float[4, 7, 1, 1] w2, int64[4] s = {8, 1, 1, 1}> {
            c = Conv(x, w0)
            style = Gemm(z, s0)
            scale = Reshape(style, s)
            w = Mul(w1, scale)
            d = ConvTranspose(c, w)
            y = Conv(d, w2)
        }""")
    assert group_sizes(model) == [7, 8]
    assert assert_cut_equals_mask(model).shape("w1") == (4, 3, 2, 2)


def test_constant_data_under_a_kernel_computed_at_run_time() -> None:
    model = net("""(float[1, 6] z) => (float[1, 4, 6, 6] y)
        <float[6, 8] s0, float[1, 8, 5, 5] k, float[8, 7, 2, 2] w1, float[4, 7, 1, 1] w2, int64[4] s = {8, 1, 1, 1}> {
            style = Gemm(z, s0)
            scale = Reshape(style, s)
            w = Mul(w1, scale)
            d = ConvTranspose(k, w)
            y = Conv(d, w2)
        }""")
    assert group_sizes(model) == [7, 8]
    assert assert_cut_equals_mask(model).shape("k") == (1, 4, 5, 5)
