"""Slice: a stretch of the channels, with bounds from either end, and steps."""

import numpy as np
import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net

TEXT = """(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
    <float[8, 3, 1, 1] w0, float[4, WIDTH, 1, 1] w1, CONSTANTS float[4, 8, 1, 1] w2> {
        c = Conv(x, w0)
        a = SLICE
        r = Sigmoid(a)
        d = Conv(r, w1)
        e = Conv(c, w2)
        y = Add(d, e)
    }"""

# (start, end) -> the positions that stay
BOUNDS = {(0, 3): 3, (2, 8): 6, (2, 5): 3, (-4, 9999): 4, (-6, -2): 4, (0, -3): 5, (1, -1): 6, (-9999, 5): 5}


@pytest.mark.parametrize(
    ("opset", "start", "end"),
    # onnx itself does not infer the shape of an old Slice that starts before the first position
    [(opset, *bounds) for bounds in BOUNDS for opset in (9, 17) if (opset, bounds[0]) != (9, -9999)],
)
def test_the_stretch_is_a_group_of_its_own(opset: int, start: int, end: int) -> None:
    width = BOUNDS[start, end]
    if opset == 9:
        line, constants = f"Slice<axes = [1], starts = [{start}], ends = [{end}]>(c)", ""
    else:
        line = "Slice(c, s, e0, axis)"
        constants = f"int64[1] s = {{{start}}}, int64[1] e0 = {{{end}}}, int64[1] axis = {{-3}},"
    text = TEXT.replace("WIDTH", str(width)).replace("CONSTANTS", constants).replace("SLICE", line)
    model = net(text, opset=opset, ir=4)
    # Positions before, within and after the stretch: those outside touch other axes, and so count apart.
    assert group_sizes(model) == sorted(size for size in (width, 8 - width) if size > 1)
    for ratio in (0.25, 0.5):
        checked = assert_cut_equals_mask(model, ratio=ratio)
    for name in checked.keep:
        assert_cut_equals_mask(model, {name: checked.keep[name]})


def test_steps_and_backward_slices_are_fine_on_other_axes() -> None:
    model = net("""(float[n, 3, 6, 6] x) => (float[n, 4, 3, 6] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, int64[2] s = {0, -1}, int64[2] e = {6, -9999},
         int64[2] axes = {2, 3}, int64[2] steps = {2, -1}> {
            c = Conv(x, w0)
            a = Slice(c, s, e, axes, steps)
            y = Conv(a, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert not checked.result.edits.operands


def test_without_axes_the_first_ones_are_meant() -> None:
    model = net("""(float[2, 3, 6, 6] x) => (float[2, 4, 6, 6] y)
        <float[8, 3, 1, 1] w0, float[4, 5, 1, 1] w1, int64[2] s = {0, 1}, int64[2] e = {2, 6}> {
            c = Conv(x, w0)
            a = Slice(c, s, e)
            y = Conv(a, w1)
        }""")
    assert group_sizes(model) == [3, 5]
    assert_cut_equals_mask(model)


STEPS = """(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
    <float[12, 3, 1, 1] w0, float[4, WIDTH, 1, 1] w1, int64[1] s = {START}, int64[1] e = {STOP}, int64[1] axes = {1},
     int64[1] steps = {STEP}, float[4, 12, 1, 1] w2> {
        c = Conv(x, w0)
        a = Slice(c, s, e, axes, steps)
        r = Sigmoid(a)
        d = Conv(r, w1)
        e0 = Conv(c, w2)
        y = Add(d, e0)
    }"""


@pytest.mark.parametrize(
    ("start", "stop", "step", "sizes"),
    [
        (0, 9999, 2, [6]),
        (1, 12, 2, [6]),
        (2, 12, 3, [4]),
        (4, 11, 3, [2, 5]),
        (-9, -1, 4, [2, 4]),
        (0, 7, 5, [2]),
        (1, 7, 4, [2]),
        (-1, -9999, -1, [12]),
        (11, -9999, -1, [12]),
    ],
)
def test_a_step_keeps_whole_blocks(start: int, stop: int, step: int, sizes: list[int]) -> None:
    width = len(range(12)[start:stop:step])
    text = STEPS.replace("WIDTH", str(width)).replace("START", str(start)).replace("STOP", str(stop))
    model = net(text.replace("STEP", str(step)))
    assert group_sizes(model) == sizes
    for group in analysed(model).prunable:
        for gone in range(group.size):
            assert_cut_equals_mask(model, {group.name: np.arange(group.size) != gone})
    assert_cut_equals_mask(model)


@pytest.mark.parametrize(("start", "stop", "step", "width"), [(10, 1, -1, 9), (-1, 3, -1, 8), (-1, -9999, -2, 6)])
def test_other_steps_backwards_freeze(start: int, stop: int, step: int, width: int) -> None:
    text = STEPS.replace("WIDTH", str(width)).replace("START", str(start)).replace("STOP", str(stop))
    reasons = frozen_reasons(net(text.replace("STEP", str(step))))
    assert reasons["c"] == f"c:1 meets Slice (node 1), where it is sliced with step {step}"


def test_coordinates_sliced_one_by_one_stay() -> None:
    """So are boxes decoded: every fourth number from the first, the second, ... of four."""
    model = net("""(float[n, 6] x) => (float[n, 1] y)
        <float[6, 4] w0, int64[1] zero = {0}, int64[1] one = {1}, int64[1] end = {9999}, int64[1] step = {4}> {
            c = MatMul(x, w0)
            a = Slice(c, zero, end, one, step)
            b = Slice(c, one, end, one, step)
            y = Add(a, b)
        }""")
    assert group_sizes(model) == []


def test_bounds_known_only_at_run_time_freeze() -> None:
    model = net("""(float[n, 3, 6, 6] x, int64[1] s) => (float[n, k, 6, 6] y)
        <float[8, 3, 1, 1] w0, int64[1] e = {8}, int64[1] axes = {1}> {
            c = Conv(x, w0)
            y = Slice(c, s, e, axes)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets Slice (node 1), where it is sliced at bounds computed at run time"


def test_bounds_known_only_at_run_time_let_other_axes_pass() -> None:
    """A crop to another tensor's size, as where a decoder meets its encoder."""
    model = net("""(float[n, 3, h, w] x, float[n, 3, k, l] z) => (float[n, 4, k, l] y)
        <float[8, 3, 1, 1] w0, float[8, 3, 1, 1] w1, float[4, 8, 1, 1] w2, int64[2] s = {0, 0},
         int64[2] axes = {2, 3}> {
            c = Conv(x, w0)
            d = Conv(z, w1)
            e = Shape<start = 2>(d)
            a = Slice(c, s, e, axes)
            f = Add(a, d)
            y = Conv(f, w2)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model, free={"k": 5, "l": 6})


def test_bounds_shared_with_another_slice_are_copied() -> None:
    model = net("""(float[n, 6, 6, 6] x) => (float[n, 4, 6, 6] y)
        <float[8, 4, 1, 1] w0, float[4, 4, 1, 1] w1, int64[1] s = {0}, int64[1] e = {4}, int64[1] axes = {1}> {
            i = Slice(x, s, e, axes)
            c = Conv(i, w0)
            a = Slice(c, s, e, axes)
            y = Conv(a, w1)
        }""")
    assert group_sizes(model) == [4, 4]
    checked = assert_cut_equals_mask(model)
    assert list(checked.value("e")) == [4]
    assert checked.result.edits.copies == {"e_cut1": "e"}
