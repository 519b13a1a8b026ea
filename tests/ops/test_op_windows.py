"""Col2Im and CenterCropPad."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize("block", ["2, 2", "1, 3"])
def test_the_rows_of_a_window_go_together(block: str) -> None:
    places = 4 if block == "2, 2" else 3
    windows = 9 if block == "2, 2" else 8
    model = net(
        f"""(float[n, 3, {windows}] x) => (float[n, 4, 4, 4] y)
        <float[{5 * places}, 3, 1] w0, int64[2] image = {{4, 4}}, int64[2] block = {{{block}}}, float[4, 5, 1, 1] w1> {{
            c = Conv(x, w0)
            d = Col2Im(c, image, block)
            y = Conv(d, w1)
        }}""",
        opset=18,
    )
    assert group_sizes(model) == [5]
    assert_cut_equals_mask(model)


def test_windows_are_numbered() -> None:
    model = net(
        """(float[n, 12, 3] x) => (float[n, 3, 4, 4] y)
        <float[3, 9] w0, int64[2] image = {4, 4}, int64[2] block = {2, 2}> {
            c = MatMul(x, w0)
            y = Col2Im(c, image, block)
        }""",
        opset=18,
    )
    assert frozen_reasons(model)["c"] == "c:2 meets Col2Im (node 1), where it numbers the windows"


def test_axes_that_are_not_cropped_pass_through() -> None:
    text = """(float[n, 3, 5, 5] x) => (float[n, 4, h, w] y)
        <float[8, 3, 1, 1] w0, int64[2] size = {3, 3}, float[4, WIDTH, 1, 1] w1> {
            c = Conv(x, w0)
            d = CenterCropPad<axes = [AXES]>(c, size)
            y = Conv(d, w1)
        }"""
    model = net(text.replace("WIDTH", "8").replace("AXES", "2, -1"), opset=18)
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)
    model = net(text.replace("WIDTH", "3").replace("AXES", "1, 2"), opset=18)
    assert frozen_reasons(model)["c"] == "c:1 meets CenterCropPad (node 1), where it is cropped or padded on both sides"
