"""RoiAlign, MaxRoiPool, GridSample and AffineGrid: channels pass through, geometry stays."""

import numpy as np
import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net

REGIONS = "float[3, 4] r = {0, 0, 4, 4, 1, 1, 5, 3, 0, 2, 3, 5}, int64[3] b = {0, 1, 0}"


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_regions_carry_channels_into_a_matrix(mode: str) -> None:
    model = net(f"""(float[2, 3, 6, 6] x) => (float[3, 4] y)
        <float[8, 3, 3, 3] w0, {REGIONS}, float[32, 5] w1, float[5, 4] w2> {{
            c = Conv(x, w0)
            a = RoiAlign<output_height = 2, output_width = 2, sampling_ratio = 2, mode = "{mode}">(c, r, b)
            f = Flatten(a)
            d = Gemm(f, w1)
            y = Gemm(d, w2)
        }}""")
    assert group_sizes(model) == [5, 8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1") == (16, 3)
    assert checked.shape("r") == (3, 4)


def test_max_roi_pool_lets_channels_through() -> None:
    model = net("""(float[1, 3, 6, 6] x) => (float[2, 4, 2, 2] y)
        <float[8, 3, 1, 1] w0, float[2, 5] r = {0, 0, 0, 4, 4, 0, 1, 1, 5, 3}, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            a = MaxRoiPool<pooled_shape = [2, 2]>(c, r)
            y = Conv(a, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_regions_found_by_the_network_itself_are_frozen() -> None:
    model = net("""(float[1, 3, 6, 6] x, float[3, 6] z, int64[3] b) => (float[3, 4, 2, 2] y)
        <float[8, 3, 1, 1] w0, float[6, 5] v0, float[5, 4] v1, float[4] box = {0, 0, 4, 4},
         float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            h = MatMul(z, v0)
            r = Gemm(h, v1, box)
            zero = Sub(b, b)
            a = RoiAlign<output_height = 2, output_width = 2>(c, r, zero)
            y = Conv(a, w1)
        }""")
    assert group_sizes(model) == [5, 8]
    assert frozen_reasons(model)["r"] == "r:1 meets RoiAlign (node 4), where it holds the corners of its regions"
    assert_cut_equals_mask(model)


def test_columns_of_space_that_are_sampled_are_frozen() -> None:
    model = net(f"""(float[2, 2, 6, 3] x) => (float[3, 2, 2, 2] y) <float[3, 6] w0, {REGIONS}> {{
            c = MatMul(x, w0)
            y = RoiAlign<output_height = 2, output_width = 2>(c, r, b)
        }}""")
    assert frozen_reasons(model)["c"] == "c:3 meets RoiAlign (node 1), where it is sampled at computed places"


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_a_grid_lets_channels_through(mode: str) -> None:
    model = net(
        f"""(float[2, 3, 5, 5] x, float[2, 4, 6, 2] g) => (float[2, 4, 4, 6] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            a = GridSample<mode = "{mode}">(c, g)
            y = Conv(a, w1)
        }}""",
        opset=20,
        ir=9,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_places_of_the_grid_are_places_of_the_result() -> None:
    model = net("""(float[2, 3, 5, 5] x, float[2, 3, 2, 6] z) => (float[2, 3, 3, 4] y)
        <float[6, 8] w0, float[8, 4] w1> {
            c = MatMul(z, w0)
            grid = Transpose<perm = [0, 1, 3, 2]>(c)
            a = GridSample(x, grid)
            y = MatMul(a, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_what_a_spatial_transformer_makes_of_its_channels_is_geometry() -> None:
    model = net(
        """(float[2, 3, 6, 6] x) => (float[2, 4, 6, 6] y)
        <float[8, 3, 1, 1] w0, float[8, 6] v, int64[3] s = {-1, 2, 3}, int64[4] size = {2, 3, 6, 6},
         float[7, 3, 1, 1] w1, float[4, 7, 1, 1] w2> {
            c = Conv(x, w0)
            p = GlobalAveragePool(c)
            f = Flatten(p)
            t = Gemm(f, v)
            theta = Reshape(t, s)
            grid = AffineGrid(theta, size)
            d = Conv(x, w1)
            a = GridSample(d, grid)
            y = Conv(a, w2)
        }""",
        opset=20,
        ir=9,
    )
    assert group_sizes(model) == [7, 8]
    assert "AffineGrid (node 5), where it holds an affine transformation" in frozen_reasons(model)["t"]
    keep = {group.name: np.arange(group.size) < group.size - 2 for group in analysed(model).prunable}
    assert_cut_equals_mask(model, keep)


def test_a_batch_of_channels_has_a_grid_for_each() -> None:
    model = net(
        """(float[1, 3, 5, 5] x, float[1, 3, 3, 2] z) => (float[1, 4, 1, 3] y)
        <float[6, 3, 1, 1] w0, float[6, 3, 1, 1] w1, float[4, 6, 1, 1] w2> {
            c = Conv(x, w0)
            ct = Transpose<perm = [1, 0, 2, 3]>(c)
            d = Conv(z, w1)
            dt = Transpose<perm = [1, 0, 2, 3]>(d)
            a = GridSample(ct, dt)
            at = Transpose<perm = [1, 0, 2, 3]>(a)
            y = Conv(at, w2)
        }""",
        opset=20,
        ir=9,
    )
    assert group_sizes(model) == [6]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1") == (3, 3, 1, 1)
