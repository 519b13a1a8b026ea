"""Removing what scores below a threshold, given or searched for a budget."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.errors import UnreachableError
from onnxprune.selection.limits import Cost, Limit, Limits
from onnxprune.selection.threshold import by_budget, by_threshold
from onnxprune.selection.widths import Width
from onnxprune.values.statistics import Scores


class Problem:
    """A chain of layers with random scores: each layer's cost is its width times the width before it."""

    def __init__(self, seed: int, *, coarse: bool = False) -> None:
        rng = np.random.default_rng(seed)
        number = int(rng.integers(1, 6))
        self.widths = [Width(f"g{i}", int(rng.integers(2, 70)), int(rng.choice([1, 4, 8, 16]))) for i in range(number)]
        draws = {width.name: rng.uniform(0.0, 2.0, width.size) for width in self.widths}
        self.scores = Scores({name: np.round(draw, 1) if coarse else draw for name, draw in draws.items()})
        self.factors = rng.uniform(1.0, 100.0, number + 1)

    def cost(self, counts: Mapping[str, int]) -> float:
        chain = [3, *(counts[width.name] for width in self.widths), 10]
        return float(sum(f * a * b for f, a, b in zip(self.factors, chain[:-1], chain[1:], strict=True)))

    @property
    def whole(self) -> float:
        return self.cost({width.name: width.size for width in self.widths})

    @property
    def least(self) -> float:
        return self.cost({width.name: width.floor for width in self.widths})


def alone(cost: Cost, most: float, widths: Sequence[Width]) -> Limits:
    """One limit, everybody a neighbour of everybody."""
    whole = cost({width.name: width.size for width in widths})
    return Limits((Limit("MACs", cost, most, whole),), lambda name: [width.name for width in widths])


problems = st.builds(Problem, st.integers(0, 100_000), coarse=st.booleans())
shares = st.floats(0.0, 1.0)


@given(problem=problems, share=shares)
def test_a_budget_holds_within_floors_and_no_further_block_fits(problem: Problem, share: float) -> None:
    budget = problem.least + share * (problem.whole - problem.least)
    counts, _ = by_budget(problem.widths, problem.scores, alone(problem.cost, budget, problem.widths))
    assert problem.cost(counts) <= budget
    for width in problem.widths:
        assert width.floor <= counts[width.name] <= width.size
        if counts[width.name] < width.size:
            wider = {**counts, width.name: width.up_one(counts[width.name])}
            assert problem.cost(wider) > budget, f"{width.name} could have kept one more block"


@given(problem=problems, shares=st.tuples(shares, shares))
def test_a_larger_budget_never_raises_the_threshold(problem: Problem, shares: tuple[float, float]) -> None:
    low, high = (problem.least + share * (problem.whole - problem.least) for share in sorted(shares))
    tight = by_budget(problem.widths, problem.scores, alone(problem.cost, low, problem.widths))[1]
    loose = by_budget(problem.widths, problem.scores, alone(problem.cost, high, problem.widths))[1]
    assert loose <= tight


@given(problem=problems, share=shares)
def test_the_order_of_groups_changes_nothing(problem: Problem, share: float) -> None:
    budget = problem.least + share * (problem.whole - problem.least)
    forward = by_budget(problem.widths, problem.scores, alone(problem.cost, budget, problem.widths))
    assert by_budget(problem.widths[::-1], problem.scores, alone(problem.cost, budget, problem.widths[::-1])) == forward


def test_a_budget_of_everything_keeps_everything() -> None:
    problem = Problem(3)
    counts, threshold = by_budget(problem.widths, problem.scores, alone(problem.cost, problem.whole, problem.widths))
    assert counts == {width.name: width.size for width in problem.widths}
    assert threshold == float("-inf")


def test_the_worst_channels_go_first_whatever_their_group() -> None:
    widths = [Width("a", 4), Width("b", 4)]
    scores = Scores({"a": np.array([0.9, 0.8, 0.1, 0.2]), "b": np.array([0.7, 0.3, 0.6, 0.5])})
    counts, threshold = by_budget(widths, scores, alone(lambda counts: sum(counts.values()), 5, widths))
    assert counts == {"a": 2, "b": 3}
    assert threshold == pytest.approx(0.5, abs=1e-12)


def test_blocks_are_given_back_best_first() -> None:
    widths = [Width("a", 16, 8), Width("b", 16, 8)]
    scores = Scores({"a": np.repeat([0.9, 0.2], 8), "b": np.repeat([0.8, 0.3], 8)})
    counts, _ = by_budget(widths, scores, alone(lambda counts: sum(counts.values()), 24, widths))
    assert counts == {"a": 8, "b": 16}


def test_equal_groups_are_told_apart_by_name() -> None:
    widths = [Width("a", 4, 4), Width("b", 4, 4)]
    scores = Scores({"a": np.ones(4), "b": np.ones(4)})
    found = by_budget(widths, scores, alone(lambda counts: sum(counts.values()), 5, widths))[0]
    assert found == by_budget(widths[::-1], scores, alone(lambda counts: sum(counts.values()), 5, widths[::-1]))[0]
    assert sum(found.values()) == 5


def test_an_unreachable_budget_is_answered_with_the_closest_figure() -> None:
    widths = [Width("a", 20), Width("b", 30)]
    scores = Scores({"a": np.ones(20), "b": np.ones(30)})
    with pytest.raises(UnreachableError) as caught:
        by_budget(widths, scores, alone(lambda counts: 50 + sum(counts.values()), 20, widths))
    assert str(caught.value) == (
        "The budget of 20.0 % of the MACs cannot be met: with every group at its floor 55.0 % are left; "
        "ask for at least that."
    )


def test_a_budget_of_exactly_the_floors_is_met() -> None:
    problem = Problem(11)
    counts, _ = by_budget(problem.widths, problem.scores, alone(problem.cost, problem.least, problem.widths))
    assert problem.cost(counts) == problem.least


def test_a_threshold_keeps_what_scores_at_least_it() -> None:
    scores = Scores({"a": np.array([0.5, 1.0, 1.5, 0.99]), "b": np.array([2.0, 2.0])})
    assert by_threshold([Width("a", 4), Width("b", 2)], scores, 1.0) == {"a": 2, "b": 2}


def test_a_threshold_rounds_to_the_nearest_block_and_keeps_the_floor() -> None:
    scores = Scores({"a": np.repeat([2.0, 0.0], [11, 21]), "b": np.repeat([2.0, 0.0], [12, 20]), "c": np.zeros(32)})
    widths = [Width(name, 32, 8) for name in "abc"]
    assert by_threshold(widths, scores, 1.0) == {"a": 8, "b": 16, "c": 4}


@given(problem=problems, thresholds=st.tuples(st.floats(0, 2), st.floats(0, 2)))
def test_a_higher_threshold_never_keeps_more(problem: Problem, thresholds: tuple[float, float]) -> None:
    low, high = sorted(thresholds)
    loose = by_threshold(problem.widths, problem.scores, low)
    tight = by_threshold(problem.widths, problem.scores, high)
    assert all(tight[name] <= loose[name] for name in loose)


def test_caps_of_other_budgets_count_towards_the_budget_instead_of_adding_to_it() -> None:
    """Two groups of equal cost: with one capped at half, the other gives up no more than the budget asks."""
    widths = [Width("a", 16), Width("b", 16)]
    scores = Scores({"a": np.linspace(1, 2, 16), "b": np.linspace(1, 2, 16)})
    counts, _ = by_budget(
        widths, scores, alone(lambda kept: kept["a"] + kept["b"], 16 + 8, widths), caps={"a": 8, "b": 16}
    )
    assert counts == {"a": 8, "b": 16}


@given(problem=problems, threshold=st.floats(0.0, 2.5), cap=shares)
def test_a_cap_bounds_what_a_threshold_removes(problem: Problem, threshold: float, cap: float) -> None:
    free = by_threshold(problem.widths, problem.scores, threshold)
    capped = by_threshold(problem.widths, problem.scores, threshold, cap)
    channels = sum(width.size for width in problem.widths)
    removed = channels - sum(capped.values())
    assert removed <= cap * channels + 1e-9
    assert all(free[name] <= count for name, count in capped.items())
    if channels - sum(free.values()) <= cap * channels:
        assert capped == free
    for width in problem.widths:  # nothing more would fit
        smaller = max(free[width.name], width.down_one(capped[width.name]))
        step = capped[width.name] - smaller
        assert step == 0 or removed + step > cap * channels


def test_under_a_cap_the_lowest_go_first_and_ties_decide() -> None:
    scores = Scores(
        {"a": np.array([0.5, 0.1, 0.5, 2.0]), "b": np.array([0.2, 0.5, 3.0, 3.0])},
        {"a": np.array([1.0, 0.0, 3.0, 0.0]), "b": np.array([0.0, 2.0, 0.0, 0.0])},
    )
    widths = [Width("a", 4), Width("b", 4)]
    assert by_threshold(widths, scores, 1.0, 2 / 8) == {"a": 3, "b": 3}
    assert by_threshold(widths, scores, 1.0, 3 / 8) == {"a": 2, "b": 3}
    assert by_threshold(widths, scores, 1.0, 4 / 8) == {"a": 2, "b": 2}
    assert by_threshold(widths, scores, 1.0, 1.0) == {"a": 1, "b": 2}
