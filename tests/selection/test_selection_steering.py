"""What is said of single groups: which pattern fits what, floors and shares of their own, and contradictions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from onnxprune.errors import Code
from onnxprune.selection.steering import Steering, fits, places, widths_by_place
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.groups import ChannelGroup, Member


def group(name: str, size: int = 16, weight: str = "w", *coupled: str) -> ChannelGroup:
    positions = np.arange(size)[:, None]
    members = (
        Member(Axis(Ref(name), 1), positions, "produces"),
        Member(Axis(Ref(weight, 0, 1), 0), positions, "weight"),
        Member(Axis(Ref("relu_7"), 1), positions, "activation"),
    )
    return ChannelGroup(name, size, members, (name, *coupled))


STEM = group("/stem_conv/Conv_output_0", 32, "stem_conv.weight")
STREAM = group("/layer3/layer3.0/conv2/Conv_output_0", 64, "onnx::Conv_12", "/layer3/layer3.1/conv2/Conv_output_0")
INNER = group("/layer3/layer3.0/conv1/Conv_output_0", 64, "onnx::Conv_9")
GROUPS = (STEM, STREAM, INNER)


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("stem*", (STEM,)),
        ("*stem*", (STEM,)),
        ("layer3.*", (STREAM, INNER)),
        ("layer3.1", (STREAM,)),
        ("layer3/layer3.0/conv1/*", ()),
        ("*/layer3.0/conv1/*", (INNER,)),
        ("conv2", (STREAM,)),
        ("onnx::Conv_9", (INNER,)),
        ("Conv_output_0", GROUPS),
        ("relu_7", ()),
        ("STEM*", ()),
    ],
)
def test_a_pattern_fits_names_of_layers_and_weights_and_their_parts(
    pattern: str, fitting: tuple[ChannelGroup, ...]
) -> None:
    assert tuple(found for found in GROUPS if fits(pattern, found)) == fitting


def test_what_is_kept_has_no_other_width() -> None:
    width = Steering(keep=("stem*",)).width(STEM, 8)
    assert (width.floor, width.top) == (32, 32)
    assert width.nearest(3) == width.down(3) == width.down_one(32) == 32
    assert Steering(keep=("stem*",)).width(INNER, 8).floor < 64


@given(ratio=st.floats(0, 0.99), block=st.sampled_from([1, 4, 8]), least=st.floats(0, 1))
def test_a_share_of_their_own_is_the_one_width_there_is(ratio: float, block: int, least: float) -> None:
    width = Steering(least, ratios=(("layer3.1", ratio),)).width(STREAM, block)
    assert width.floor == width.top
    assert width.floor >= max(1, least * 64 - 1e-6)
    assert width.floor == 64 or width.floor < block or width.floor % block == 0
    if block == 1 and 1 - ratio > least + 0.02:
        assert width.floor == int(np.floor(64 * (1 - ratio) + 1e-9))


@given(least=st.floats(0, 1), size=st.integers(2, 70), block=st.sampled_from([1, 4, 8]))
def test_floors_follow_from_what_is_to_be_kept(least: float, size: int, block: int) -> None:
    width = Steering(least).width(group("a", size), block)
    assert 1 <= width.floor <= size
    assert width.floor >= least * size - 1e-6
    assert width.floor < least * size + 1 + block


@pytest.mark.parametrize(
    ("steering", "code", "thing"),
    [
        (Steering(keep=("stern*",)), "unknown-name", "'stern*'"),
        (Steering(ratios=(("nothing", 0.5),)), "unknown-name", "'nothing'"),
        (Steering(ratios=(("stem*", 1.0),)), "bad-value", "--ratio-for stem*=1"),
        (Steering(ratios=(("stem*", -0.1),)), "bad-value", "--ratio-for stem*=-0.1"),
        (Steering(1.5), "bad-value", "--min-keep"),
        (Steering(keep=("conv2",), ratios=(("layer3.1", 0.5),)), "conflicting-options", "group '/layer3"),
        (Steering(ratios=(("layer3.0", 0.5), ("layer3.1", 0.6))), "conflicting-options", "group '/layer3"),
    ],
)
def test_what_makes_no_sense_is_refused(steering: Steering, code: Code, thing: str) -> None:
    with refused(code, thing):
        steering.check(GROUPS)


def test_the_same_share_may_be_said_twice() -> None:
    Steering(ratios=(("layer3.0", 0.5), ("layer3.1", 0.5)), keep=("stem*", "*stem*")).check(GROUPS)


def test_only_what_was_said_goes_into_the_plan() -> None:
    assert Steering().to_json() == {}
    whole = Steering(0.3, ("a",), (("b", 0.5),)).to_json()
    assert whole == {"min_keep": 0.3, "keep": ["a"], "ratio_for": {"b": 0.5}}


def test_shares_are_of_the_original_width_where_it_is_known() -> None:
    half = group(INNER.name, 32, "onnx::Conv_9_copy")
    steering = Steering(0.25, ratios=(("*conv1*", 0.75),), original=widths_by_place((INNER, STEM)))
    assert places(half) == places(INNER) != places(STEM), "weights may have been copied"
    assert steering.width(half, 8).top == 16, "a quarter of 64"
    assert Steering(0.25, original=widths_by_place((INNER,))).width(half, 1).floor == 16
    assert Steering(0.25).width(half, 1).floor == 8
    assert Steering(0.9, original=widths_by_place((INNER,))).width(half, 1).floor == 32, "no more than there is"


def test_groups_that_reach_the_same_axes_are_not_told_apart() -> None:
    assert widths_by_place((INNER, group(INNER.name, 3))) == {}
    assert widths_by_place(GROUPS) == {places(found): found.size for found in GROUPS}


def test_a_part_of_the_way_is_one_of_equal_ratios() -> None:
    whole = Steering(ratios=(("stem*", 0.75), ("gone*", 0.5)))
    assert dict(whole.part(0.5, (STEM,)).ratios) == pytest.approx({"stem*": 0.5})
    assert whole.part(1.0, (STEM,)).ratios == (("stem*", 0.75),)
    assert whole.part(1.0, (INNER,)).ratios == ()
