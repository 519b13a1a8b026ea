"""Pad with a constant: padded channels are channels of their own; copies of positions and crops freeze."""

import numpy as np
import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net

SHORTCUT = """(float[n, 3, 6, 6] x) => (float[n, 4, 3, 3] y)
    <float[4, 3, 1, 1] w0, float[8, 4, 1, 1] w1, float[4, 8, 1, 1] w2, CONSTANTS
     int64[2] s = {0, 0}, int64[2] e = {9999, 9999}, int64[2] space = {2, 3}, int64[2] two = {2, 2}> {
        a = Conv(x, w0)
        h = Slice(a, s, e, space, two)
        p = PAD
        b = Conv<strides = [2, 2]>(a, w1)
        d = Add(b, p)
        r = Relu(d)
        y = Conv(r, w2)
    }"""


@pytest.mark.parametrize(
    ("pad", "constants", "opset"),
    [
        ('Pad<mode = "constant", pads = [0, 2, 0, 0, 0, 2, 0, 0]>(h)', "", 10),
        ("Pad(h, pads)", "int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0},", 11),
        ("Pad(h, pads, zero)", "int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0}, float zero = {0},", 13),
        ("Pad(h, pads, one, axes)", "int64[2] pads = {2, 2}, int64[1] axes = {-3}, float one = {1},", 18),
    ],
)
def test_shortcut_with_padded_channels_is_cut_in_its_parts(pad: str, constants: str, opset: int) -> None:
    """Option A of the ResNets for CIFAR: half of the channels are padded, a quarter on each side."""
    model = net(SHORTCUT.replace("PAD", pad).replace("CONSTANTS", constants), opset=opset, ir=9 if opset > 17 else 5)
    assert group_sizes(model) == [4, 4]
    for group in analysed(model).prunable:
        for gone in ([0], [3], [1, 2], [0, 1, 2]):
            keep = np.isin(np.arange(4), gone, invert=True)
            assert_cut_equals_mask(model, {group.name: keep})
    assert_cut_equals_mask(model, ratio=0.25)


def test_space_may_be_padded_with_anything() -> None:
    for mode in ("constant", "reflect", "edge"):
        model = net(f"""(float[n, 3, 6, 6] x) => (float[n, 4, 8, 7] y)
            <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, int64[8] pads = {{0, 0, 1, 0, 0, 0, 1, 1}}> {{
                c = Conv(x, w0)
                d = Pad<mode = "{mode}">(c, pads)
                y = Conv(d, w1)
            }}""")
        assert group_sizes(model) == [8]
        checked = assert_cut_equals_mask(model)
        assert not checked.result.edits.operands
        assert list(checked.value("pads")) == [0, 0, 1, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_channels_padded_with_copies_are_frozen(mode: str) -> None:
    model = net(
        f"""(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
        <float[8, 3, 1, 1] w0, float[4, 9, 1, 1] w1, int64[8] pads = {{0, 1, 0, 0, 0, 0, 0, 0}}> {{
            c = Conv(x, w0)
            d = Pad<mode = "{mode}">(c, pads)
            y = Conv(d, w1)
        }}""",
        opset=19,
        ir=9,
    )
    assert frozen_reasons(model)["c"] == "c:1 meets Pad (node 1), where it is padded with copies of its own positions"


def test_cropped_channels_are_frozen() -> None:
    model = net("""(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
        <float[8, 3, 1, 1] w0, float[4, 7, 1, 1] w1, int64[8] pads = {0, -1, 0, 0, 0, 0, 0, 0}> {
            c = Conv(x, w0)
            d = Pad(c, pads)
            y = Conv(d, w1)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets Pad (node 1), where it is cropped by a negative Pad"


def test_padding_known_only_at_run_time_freezes() -> None:
    model = net("""(float[n, 3, 6, 6] x, int64[8] pads) => (float[n, a, b, c1] y) <float[8, 3, 1, 1] w0> {
            c = Conv(x, w0)
            y = Pad(c, pads)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets Pad (node 1), where it is padded by an amount computed at run time"


def test_padding_of_space_known_only_at_run_time_lets_channels_pass() -> None:
    """A picture padded to a multiple of two, whatever its size."""
    model = net("""(float[n, 3, h, 6] x) => (float[n, 4, a, b] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, int64[1] four = {4}, int64[6] none = {0, 0, 0, 0, 0, 0},
         int64[1] last = {0}> {
            c = Conv(x, w0)
            height = Shape<start = 2, end = 3>(c)
            odd = Mod(height, four)
            pads = Concat<axis = 0>(none, odd, last)
            d = Pad(c, pads)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model, free={"h": 5})


def test_padded_channels_beside_space_of_free_size_are_counted_before_the_concat() -> None:
    model = net("""(float[n, 3, h, 6] x) => (float[n, 4, a, b] y)
        <float[8, 3, 1, 1] w0, float[4, 10, 1, 1] w1, int64[4] before = {0, 2, 0, 0}, int64[2] after = {0, 0},
         int64[1] last = {0}> {
            c = Conv(x, w0)
            height = Shape<start = 2, end = 3>(c)
            pads = Concat<axis = 0>(before, after, height, last)
            d = Pad(c, pads)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model, free={"h": 5})
    assert list(checked.node("pads").input) == ["before", "after", "height", "last"]
