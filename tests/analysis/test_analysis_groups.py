"""Groups as values: names, members, positions, roles, masks."""

import numpy as np
import pytest
from nets import analysed, net

BLOCK = """(float[n, 3, 5, 5] x) => (float[n, 4] y)
    <float[8, 3, 1, 1] w0, float[8] b0, float[8, 1, 3, 3] w1, float[200, 4] w2> {
        a = Conv(x, w0, b0)
        d = Conv<group = 8, pads = [1, 1, 1, 1]>(a, w1)
        f = Flatten(d)
        y = Gemm(f, w2)
    }"""


def test_members_say_what_each_channel_takes_of_every_axis() -> None:
    group = analysed(net(BLOCK)).by_name["a"]
    found = {f"{member.axis} {member.role}": member.positions.shape for member in group.members}
    assert found == {
        "a:1 produces": (8, 1),
        "d:1 produces": (8, 1),
        "w0:0 weight": (8, 1),
        "b0:0 weight": (8, 1),
        "w1:0 weight": (8, 1),
        "w2:0 weight": (8, 25),
        "f:1 activation": (8, 25),
    }
    assert [member.role for member in group.members][:2] == ["produces", "produces"]
    flat = next(member for member in group.members if member.axis.ref.name == "f")
    np.testing.assert_array_equal(flat.positions[3], np.arange(75, 100))
    assert group.layers == ("a", "d")
    with pytest.raises(ValueError, match="read-only"):
        flat.positions[0, 0] = 1


def test_channels_of_one_layer_that_reach_other_places_are_groups_of_their_own() -> None:
    analysis = analysed(
        net(
            """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 3, 1, 1] w1, float[4, 5, 1, 1] w2> {
            c = Conv(x, w0)
            a, b = Split<axis = 1, split = [3, 5]>(c)
            d = Conv(a, w1)
            e = Conv(b, w2)
            y = Add(d, e)
        }""",
            opset=11,
        )
    )
    assert {name: group.size for name, group in analysis.by_name.items()} == {"c": 3, "c#2": 5, "d": 4}
    keep = {"c#2": np.array([True, False, True, True, False])}
    masks = {str(axis): mask.tolist() for axis, mask in analysis.axis_masks(keep).items()}
    assert masks["c:1"] == [True] * 3 + keep["c#2"].tolist()
    assert masks["b:1"] == keep["c#2"].tolist()
    assert "a:1" not in masks


def test_a_single_channel_is_no_group_to_cut() -> None:
    analysis = analysed(
        net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[1, 3, 1, 1] w0, float[4, 1, 1, 1] w1> { c = Conv(x, w0) y = Conv(c, w1) }""")
    )
    assert analysis.by_name["c"].size == 1
    assert analysis.by_name["c"].frozen is None
    assert not analysis.by_name["c"].prunable


def test_a_graph_without_layers_has_no_groups() -> None:
    analysis = analysed(net("(float[n, 3] x) => (float[n, 3] y) { y = Relu(x) }"))
    assert analysis.groups == ()
    assert analysis.macs() == 0
    assert analysis.params() == 0
    assert analysis.axis_masks({}) == {}


def test_axes_of_different_width_that_a_wrong_file_ties_are_frozen() -> None:
    analysis = analysed(
        net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[7] b0, float[4, 8, 1, 1] w1> { c = Conv(x, w0, b0) y = Conv(c, w1) }""")
    )
    assert "which has another size" in str(analysis.by_name["c"].frozen)
