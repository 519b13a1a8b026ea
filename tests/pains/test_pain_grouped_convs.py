"""Grouped convolutions that other pruners cut in one group only, or take for depthwise."""

import numpy as np
import pytest
from nets import analysed, assert_cut_equals_mask, group_sizes, net


@pytest.mark.parametrize("removed", [1, 2, 3])
def test_torch_pruning_328_a_grouped_conv_is_cut_in_all_groups(removed: int) -> None:
    """Only the first group's filters went, so that the groups had different sizes and the net did not run."""
    model = net("""(float[n, 3, 6, 6] x) => (float[n, 5, 6, 6] y)
        <float[16, 3, 1, 1] w0, float[16, 4, 3, 3] w1, float[16] b1, float[5, 16, 1, 1] w2> {
            c = Conv(x, w0)
            r = Relu(c)
            g = Conv<group = 4, pads = [1, 1, 1, 1]>(r, w1, b1)
            y = Conv(g, w2)
        }""")
    assert group_sizes(model) == [4, 4]
    keep = {name: np.arange(4) >= removed for name in ("c", "g")}
    checked = assert_cut_equals_mask(model, keep)
    left = 4 - removed
    assert checked.attribute("g", "group") == 4
    assert checked.shape("w0") == (4 * left, 3, 1, 1)
    assert checked.shape("w1") == (4 * left, left, 3, 3)
    assert checked.shape("b1") == (4 * left,)
    # The same filters of every group are left.
    before = {t.name: t for t in model.graph.initializer}["b1"]
    whole = np.frombuffer(before.raw_data, np.float32).reshape(4, 4)
    np.testing.assert_array_equal(checked.value("b1"), whole[:, removed:].ravel())


def test_torch_pruning_328_between_residual_sums_all_groups_still_go_together() -> None:
    """ResNeXt: the grouped layer's input comes from one layer, its output joins nothing, the sum ties the ends."""
    model = net("""(float[n, 3, 6, 6] x) => (float[n, 2, 6, 6] y)
        <float[6, 3, 1, 1] w0, float[12, 6, 1, 1] w1, float[12, 3, 3, 3] w2, float[6, 12, 1, 1] w3,
         float[2, 6, 1, 1] w4> {
            a = Conv(x, w0)
            b = Conv(a, w1)
            c = Conv<group = 4, pads = [1, 1, 1, 1]>(b, w2)
            d = Conv(c, w3)
            s = Add(a, d)
            y = Conv(s, w4)
        }""")
    assert group_sizes(model) == [3, 3, 6]
    assert assert_cut_equals_mask(model, ratio=0.4).attribute("c", "group") == 4


@pytest.mark.parametrize("attributes", ["", "<group = 1>"])
def test_torch_pruning_179_a_conv_with_one_output_channel_is_not_depthwise(attributes: str) -> None:
    """One filter over many channels (a saliency map) looked like depthwise, so its channel bound the input's."""
    model = net(f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[1, 8, 1, 1] w1, float[6, 1, 1, 1] w2, float[4, 6, 1, 1] w3> {{
            c = Conv(x, w0)
            m = Conv{attributes}(c, w1)
            d = Conv(m, w2)
            y = Conv(d, w3)
        }}""")
    assert group_sizes(model) == [6, 8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1") == (1, 4, 1, 1)
    assert checked.shape("w2") == (3, 1, 1, 1)


def test_torch_pruning_179_a_conv_from_one_input_channel_is_not_depthwise() -> None:
    """A grey image has one channel: the first layer is dense all the same, and its filters are free."""
    model = net("""(float[n, 1, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 1, 3, 3] w0, float[4, 8, 1, 1] w1> {
            c = Conv<pads = [1, 1, 1, 1]>(x, w0)
            y = Conv(c, w1)
        }""")
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("w0") == (4, 1, 3, 3)


def test_torch_pruning_179_a_spatial_gate_of_one_channel_leaves_the_gated_channels_free() -> None:
    """The one-channel map multiplies all channels: it belongs to none of them."""
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[1, 8, 3, 3] w1, float[4, 8, 1, 1] w2> {
            c = Conv(x, w0)
            m = Conv<pads = [1, 1, 1, 1]>(c, w1)
            s = Sigmoid(m)
            g = Mul(c, s)
            y = Conv(g, w2)
        }""")
    assert group_sizes(model) == [8]
    (group,) = analysed(model).prunable
    assert all(member.positions.shape == (8, 1) for member in group.members)
    assert assert_cut_equals_mask(model).shape("w1") == (1, 4, 3, 3)
