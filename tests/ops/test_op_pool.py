"""Pooling in one, two and three dimensions, local and global."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net

KERNELS = {1: "2", 2: "2, 3", 3: "2, 2, 2"}


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool"])
def test_channels_pass_through(op: str, dimensions: int) -> None:
    ones = ", 1" * dimensions
    kernel = "" if op.startswith("Global") else f"<kernel_shape = [{KERNELS[dimensions]}]>"
    free = "".join(f", s{axis}" for axis in range(dimensions))
    model = net(f"""(float[n, 3{", 6" * dimensions}] x) => (float[n, 4{free}] y)
        <float[8, 3{ones}] w0, float[4, 8{ones}] w1> {{
            c = Conv(x, w0)
            d = {op}{kernel}(c)
            y = Conv(d, w1)
        }}""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_global_norm_pooling_passes_channels_through() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 1, 1] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            d = GlobalLpPool<p = 2>(c)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_indices_that_are_read_freeze() -> None:
    text = """(float[1, 3, 4, 4] x) => (float[1, 4, 2, 2] y, int64[1, 8, 2, 2] i)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            d, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)
            y = Conv(d, w1)
        }"""
    reason = "c:1 meets MaxPool (node 1): its Indices output counts positions across all channels"
    assert frozen_reasons(net(text))["c"] == reason


def test_indices_that_nobody_reads_do_no_harm() -> None:
    model = net("""(float[1, 3, 4, 4] x) => (float[1, 4, 2, 2] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            d, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_unpooling_takes_its_indices_straight_from_the_pooling() -> None:
    model = net("""(float[2, 3, 4, 4] x) => (float[2, 4, 4, 4] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            d, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)
            r = Sigmoid(d)
            u = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(r, i)
            y = Conv(u, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_unpooling_at_constant_places_freezes() -> None:
    model = net("""(float[1, 3, 2, 2] x) => (float[1, 4, 4, 4] y)
        <float[8, 3, 1, 1] w0, int64[1, 8, 2, 2] i, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            u = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(c, i)
            y = Conv(u, w1)
        }""")
    reason = "its indices are constants that count positions across all channels"
    assert frozen_reasons(model)["c"] == f"c:1 meets MaxUnpool (node 1): {reason}"
