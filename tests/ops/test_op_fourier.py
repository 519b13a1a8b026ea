"""Fourier transforms beside and along the channels."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize(
    ("opset", "constants", "line"),
    [
        (17, "", "f = DFT<axis = 2, onesided = 1>(u)"),
        (20, ", int64 axis = {2}", "f = DFT<onesided = 1>(u, , axis)"),
        (20, "", "f = DFT<onesided = 1>(u)"),
    ],
)
def test_channels_beside_the_transformed_axis_pass_through(opset: int, constants: str, line: str) -> None:
    model = net(
        f"""(float[n, 3, 8] x) => (float[n, 4, 5, 2] y)
        <float[8, 3, 1] w0, int64[1] last = {{3}}{constants}, float[4, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            u = Unsqueeze(c, last)
            {line}
            y = Conv(f, w1)
        }}""",
        opset=opset,
        ir=9,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_transformed_channels_are_frozen() -> None:
    model = net("""(float[n, 3, 8] x) => (float[n, 8, 8, 2] y) <float[8, 3, 1] w0, int64[1] last = {3}> {
            c = Conv(x, w0)
            u = Unsqueeze(c, last)
            y = DFT<axis = 1>(u)
        }""")
    assert frozen_reasons(model)["c"] == "u:1 meets DFT (node 2), where it is transformed along this axis"


def test_frames_of_a_short_time_transform_are_frozen() -> None:
    model = net("""(float[n, 6] x) => (float[n, f, 5, 2] y)
        <float[6, 32] w0, int64[2] s = {-1, 32}, int64[1] last = {2}, int64 step = {4}, int64 length = {8}> {
            c = MatMul(x, w0)
            u = Unsqueeze(c, last)
            y = STFT(u, step, , length)
        }""")
    assert frozen_reasons(model)["c"] == "u:1 meets STFT (node 2), where it is transformed along this axis"
