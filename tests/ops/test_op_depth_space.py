"""DepthToSpace and SpaceToDepth: a block of channels becomes one channel of pixels, and back."""

import numpy as np
import pytest
from nets import assert_cut_equals_mask, group_sizes, net


@pytest.mark.parametrize(
    ("mode", "first"), [("", [0, 3, 6, 9]), (', mode = "DCR"', [0, 3, 6, 9]), (', mode = "CRD"', [0, 1, 2, 3])]
)
def test_the_channels_of_a_block_go_together(mode: str, first: list[int]) -> None:
    model = net(f"""(float[n, 3, 5, 5] x) => (float[n, 4, 10, 10] y)
        <float[12, 3, 1, 1] w0, float[12] b0, float[4, 3, 1, 1] w1> {{
            c = Conv(x, w0, b0)
            d = DepthToSpace<blocksize = 2{mode}>(c)
            r = Sigmoid(d)
            y = Conv(r, w1)
        }}""")
    assert group_sizes(model) == [3]
    checked = assert_cut_equals_mask(model, {"c": np.array([False, True, True])})
    removed = np.setdiff1d(np.arange(12), first)
    expected = next(t for t in model.graph.initializer if t.name == "b0")
    assert list(checked.value("b0")) == list(np.frombuffer(expected.raw_data, np.float32)[removed])
    assert checked.shape("w1") == (4, 2, 1, 1)


def test_a_channel_takes_its_whole_block_into_depth() -> None:
    model = net("""(float[n, 3, 4, 6] x) => (float[n, 4, 2, 3] y) <float[3, 3, 1, 1] w0, float[4, 12, 1, 1] w1> {
            c = Conv(x, w0)
            d = SpaceToDepth<blocksize = 2>(c)
            r = Sigmoid(d)
            y = Conv(r, w1)
        }""")
    assert group_sizes(model) == [3]
    assert assert_cut_equals_mask(model, ratio=0.3).shape("w1") == (4, 8, 1, 1)


def test_there_and_back_is_the_same_channel() -> None:
    model = net("""(float[n, 3, 4, 4] x) => (float[n, 4, 4, 4] y) <float[6, 3, 1, 1] w0, float[4, 6, 1, 1] w1> {
            c = Conv(x, w0)
            d = SpaceToDepth<blocksize = 2>(c)
            e = DepthToSpace<blocksize = 2>(d)
            y = Conv(e, w1)
        }""")
    assert group_sizes(model) == [6]
    assert_cut_equals_mask(model)


def test_pixels_that_are_channels_are_frozen() -> None:
    model = net("""(float[n, 4, 2, 5] x) => (float[n, 1, 4, 3] y) <float[5, 4] w0, float[8, 3] w1> {
            c = MatMul(x, w0)
            d = DepthToSpace<blocksize = 2>(c)
            y = MatMul(d, w1)
        }""")
    assert group_sizes(model) == []
