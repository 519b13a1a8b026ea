"""A share of the channels of every group."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from onnxprune.selection.ratio import by_ratio
from onnxprune.selection.widths import Width


@given(size=st.integers(1, 500), percent=st.integers(0, 89))
def test_without_blocks_the_rounded_down_share_stays(size: int, percent: int) -> None:
    kept = by_ratio([Width("g", size)], percent / 100)["g"]
    assert kept == max(math.ceil(size / 10), size * (100 - percent) // 100)


@given(
    size=st.integers(1, 300),
    block=st.sampled_from([1, 4, 8, 16]),
    ratios=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_a_larger_ratio_never_keeps_more(size: int, block: int, ratios: tuple[float, float]) -> None:
    low, high = sorted(ratios)
    group = [Width("g", size, block)]
    assert by_ratio(group, high)["g"] <= by_ratio(group, low)["g"]


def test_every_group_is_rounded_to_its_own_block() -> None:
    widths = [Width("a", 64, 8), Width("b", 48, 16), Width("c", 10, 1), Width("d", 6, 8)]
    assert by_ratio(widths, 0.5) == {"a": 32, "b": 32, "c": 5, "d": 3}


def test_a_ratio_of_nothing_keeps_everything() -> None:
    assert by_ratio([Width("a", 63, 8)], 0.0) == {"a": 63}


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_a_ratio_out_of_range_is_refused(ratio: float) -> None:
    with refused("bad-value", "--ratio"):
        by_ratio([Width("a", 8)], ratio)
