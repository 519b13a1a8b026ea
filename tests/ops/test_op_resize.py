"""Resize and Upsample in all their spellings."""

import onnx
import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net

CASES = {
    "upsample 7": ("d = Upsample<scales = [1.0, 1.0, 2.0, 2.0]>(c)", 7),
    "upsample 9": ("d = Upsample(c, scales)", 9),
    "resize 10": ("d = Resize(c, scales)", 10),
    "resize 11 scales": ("d = Resize(c, roi, scales)", 11),
    "resize 11 sizes": ("d = Resize(c, roi, none, sizes)", 11),
    "resize 13 scales": ("d = Resize<mode = \"linear\">(c, , scales)", 13),
    "resize 13 sizes": ("d = Resize<mode = \"linear\">(c, , , sizes)", 13),
    "resize 18 axes scales": ("d = Resize<axes = [2, 3]>(c, , scales2)", 18),
    "resize 18 axes sizes": ("d = Resize<axes = [3, 2]>(c, , , sizes2)", 18),
    "resize 18 channel axis": ("d = Resize<axes = [3, -3, 2]>(c, , , sizes3)", 18),
}  # fmt: skip


def upsampled(line: str, opset: int) -> onnx.ModelProto:
    return net(
        f"""(float[2, 3, 5, 5] x) => (float[2, 4, 10, 10] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, float[4] scales = {{1, 1, 2, 2}},
         float[2] scales2 = {{2, 2}}, int64[4] sizes = {{2, 8, 10, 10}}, int64[2] sizes2 = {{10, 10}},
         int64[3] sizes3 = {{10, 8, 10}}, float[0] none = {{}}, float[8] roi = {{0, 0, 0, 0, 1, 1, 1, 1}}> {{
            c = Conv(x, w0)
            {line}
            y = Conv(d, w1)
        }}""",
        opset=opset,
        ir=9 if opset > 17 else 7,
    )


@pytest.mark.parametrize("case", sorted(CASES))
def test_channels_pass_through(case: str) -> None:
    model = upsampled(*CASES[case])
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    if case.endswith("sizes") and "axes" not in case:
        assert list(checked.value("sizes")) == [2, 4, 10, 10]
    if case.endswith("channel axis"):
        assert list(checked.value("sizes3")) == [10, 4, 10]


def test_resampled_channels_are_frozen() -> None:
    model = net("""(float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 16, 1, 1] w1, float[4] scales = {1, 2, 1, 1}> {
            c = Conv(x, w0)
            d = Resize(c, , scales)
            y = Conv(d, w1)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets Resize (node 1), where it is resampled along this axis"


def test_free_space_does_not_freeze_the_channels() -> None:
    model = net("""(float[n, 3, h, w] x) => (float[n, 4, h2, w2] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, float[4] scales = {1, 1, 2, 2}> {
            c = Conv(x, w0)
            d = Resize(c, , scales)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize(("policy", "sizes"), [("stretch", [8]), ("not_smaller", []), ("not_larger", [])])
def test_sizes_that_depend_on_one_another_freeze(policy: str, sizes: list[int]) -> None:
    model = net(
        f"""(float[2, 3, 4, 4] x) => (float[2, 4, 4, 4] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, int64[3] sizes = {{8, 4, 4}}> {{
            c = Conv(x, w0)
            d = Resize<axes = [1, 2, 3], keep_aspect_ratio_policy = "{policy}">(c, , , sizes)
            y = Conv(d, w1)
        }}""",
        opset=18,
    )
    assert group_sizes(model) == sizes
    if sizes:
        assert_cut_equals_mask(model)
    else:
        assert (
            frozen_reasons(model)["c"] == "d:1 meets Resize (node 1), where it is resized in proportion to other axes"
        )
