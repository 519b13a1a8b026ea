"""Coming close to limits from below, where blocks are wide."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.selection.closer import CLOSE, choose_closely, unused
from onnxprune.selection.limits import Limit, Limits
from onnxprune.selection.policy import POLICIES, Problem
from onnxprune.selection.widths import Width
from onnxprune.values.statistics import Scores

COST = {"big": 30.0, "small": 1.0, "other": 1.5}


def problem(most: float, block: int = 16, costs: Mapping[str, float] = COST, seed: int = 0) -> Problem:
    """Groups of 32, 64 and 48 channels whose costs are those of their channels, each its own."""
    sizes = {"big": 32, "small": 64, "other": 48}
    widths = [Width(name, size, block) for name, size in sizes.items()]
    rng = np.random.default_rng(seed)
    values = {name: rng.random(size) for name, size in sizes.items()}
    curves = {name: np.concatenate([[0.0], np.cumsum(np.sort(part)[::-1])]) for name, part in values.items()}

    def cost(counts: Mapping[str, int]) -> float:
        return sum(costs[name] * count for name, count in counts.items())

    limit = Limit("MACs", cost, most * cost(sizes), cost(sizes))
    return Problem(widths, Scores(values, curves=curves), Limits((limit,), lambda name: (name,)), sizes)


@pytest.mark.parametrize("policy", ["global", "loss"])
def test_a_large_block_comes_back_and_small_ones_go_for_it(policy: str) -> None:
    asked = problem(0.9)
    plain = POLICIES[policy].choose(asked)
    found = choose_closely(POLICIES[policy], asked)
    assert asked.limits.hold(found)
    assert unused(asked.limits, plain) > 0.3, "the large one went"
    assert unused(asked.limits, found) <= CLOSE
    assert found["big"] == 32


def test_what_comes_close_is_left_as_it_is() -> None:
    asked = problem(0.6, block=1)
    plain = POLICIES["loss"].choose(asked)
    assert unused(asked.limits, plain) <= CLOSE
    assert choose_closely(POLICIES["loss"], asked) == plain


def test_the_same_share_of_all_is_not_bent() -> None:
    asked = problem(0.9)
    assert choose_closely(POLICIES["uniform"], asked) == POLICIES["uniform"].choose(asked)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 0.95), st.sampled_from([1, 8, 16]), st.integers(0, 5), st.sampled_from(["global", "loss"]))
def test_limits_hold_and_never_more_is_left_unused(most: float, block: int, seed: int, policy: str) -> None:
    asked = problem(most, block, {"big": 9.0, "small": 2.0, "other": 4.0}, seed)
    plain = POLICIES[policy].choose(asked)
    found = choose_closely(POLICIES[policy], asked)
    assert asked.limits.hold(found)
    assert unused(asked.limits, found) <= max(CLOSE, unused(asked.limits, plain)) + 1e-12
    for width in asked.widths:
        assert width.floor <= found[width.name] <= width.size
        assert found[width.name] in (width.size, width.down(found[width.name])), "whole blocks, or below one"
