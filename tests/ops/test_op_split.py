"""Split in its four spellings, and the gates that are built with it."""

import onnx
import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net

from onnxprune.surgery.cut import cut


def halves(split: str, *, opset: int, sizes: str = "4, 4", first: int = 4) -> onnx.ModelProto:
    return net(
        f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, {first}, 1, 1] w1, float[4, {8 - first}, 1, 1] w2,
         int64[2] sizes = {{{sizes}}}> {{
            c = Conv(x, w0)
            a, b = {split}
            p = Relu(a)
            q = Sigmoid(b)
            d = Conv(p, w1)
            e = Conv(q, w2)
            y = Add(d, e)
        }}""",
        opset=opset,
        ir=9 if opset > 17 else 7,
    )


@pytest.mark.parametrize("ratio", [0.25, 0.5])
@pytest.mark.parametrize(
    ("split", "opset"),
    [
        ("Split<axis = 1>(c)", 11),
        ("Split<axis = -3, split = [4, 4]>(c)", 11),
        ("Split<axis = 1>(c)", 13),
        ("Split<axis = 1>(c, sizes)", 17),
        ("Split<axis = -3, num_outputs = 2>(c)", 18),
        ("Split<axis = 1>(c, sizes)", 18),
    ],
)
def test_equal_parts_are_cut_independently(split: str, opset: int, ratio: float) -> None:
    model = halves(split, opset=opset)
    assert group_sizes(model) == [4, 4]
    checked = assert_cut_equals_mask(model, ratio=ratio)
    only_one = {"c": checked.keep["c"]}
    uneven = assert_cut_equals_mask(model, only_one)
    assert uneven.shape("w1")[1] != uneven.shape("w2")[1]
    names = {attribute.name for attribute in uneven.node("a").attribute}
    assert "num_outputs" not in names
    if opset >= 13:
        assert list(uneven.value(uneven.node("a").input[1])) == [uneven.shape("w1")[1], 4]
    else:
        assert uneven.attribute("a", "split") == [uneven.shape("w1")[1], 4]


@pytest.mark.parametrize(
    ("split", "opset"), [("Split<axis = 1, split = [3, 5]>(c)", 11), ("Split<axis = 1>(c, sizes)", 13)]
)
def test_unequal_parts_are_cut_independently(split: str, opset: int) -> None:
    model = halves(split, opset=opset, sizes="3, 5", first=3)
    assert group_sizes(model) == [3, 5]
    assert_cut_equals_mask(model)


def test_a_last_part_that_is_smaller_is_written_down_only_when_it_is_cut() -> None:
    model = net(
        """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[7, 3, 1, 1] w0, float[4, 4, 1, 1] w1, float[4, 3, 1, 1] w2> {
            c = Conv(x, w0)
            a, b = Split<axis = 1, num_outputs = 2>(c)
            d = Conv(a, w1)
            e = Conv(b, w2)
            y = Add(d, e)
        }""",
        opset=18,
        ir=9,
    )
    assert group_sizes(model) == [3, 4]
    checked = assert_cut_equals_mask(model)
    assert list(checked.value(checked.node("a").input[1])) == [checked.shape("w1")[1], checked.shape("w2")[1]]
    assert cut(checked.analysis, {}).model == model


def test_halves_that_are_multiplied_are_tied_to_each_other() -> None:
    """The gate of NAFNet: a channel of one half goes with its partner in the other."""
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8, 1, 3, 3] w1, float[4, 4, 1, 1] w2> {
            c = Conv(x, w0)
            d = Conv<group = 8, pads = [1, 1, 1, 1]>(c, w1)
            a, b = Split<axis = 1>(d)
            g = Mul(a, b)
            y = Conv(g, w2)
        }""")
    assert group_sizes(model) == [4]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (4, 3, 1, 1)
    assert not checked.result.edits.added


def test_splitting_another_axis_ties_the_parts() -> None:
    model = net("""(float[n, 3, 4, 5] x) => (float[n, 4, 2, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            a, b = Split<axis = 2>(c)
            d = Sub(a, b)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_a_part_that_nobody_reads_is_cut_as_well() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y) <float[8, 3, 1, 1] w0, float[4, 4, 1, 1] w1> {
            c = Conv(x, w0)
            a, b = Split<axis = 1>(c)
            y = Conv(a, w1)
        }""")
    assert group_sizes(model) == [4, 4]
    assert_cut_equals_mask(model)


def test_a_part_on_the_graph_output_freezes_its_own_channels_only() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] a, float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 4, 1, 1] w1> {
            c = Conv(x, w0)
            a, b = Split<axis = 1>(c)
            y = Conv(b, w1)
        }""")
    assert group_sizes(model) == [4]
    assert frozen_reasons(model)["c"] == "a:1 is part of the graph output 'a'"
    assert_cut_equals_mask(model)
