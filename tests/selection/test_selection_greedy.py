"""Widths by gain per cost: budgets hold, more budget never costs value, and no single swap does better."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from onnxprune.selection.greedy import grow, shrink
from onnxprune.selection.limits import Limit, Limits
from onnxprune.selection.widths import Width
from onnxprune.values.axes import FloatArray
from onnxprune.values.costs import CostTable, Term

Policy = Callable[..., dict[str, int]]
policies = pytest.mark.parametrize("policy", [grow, shrink])
BLOCKS = (1, 1, 4, 8)


class Problem:
    """A chain of layers with concave values: each layer's cost is its width times the width before it."""

    def __init__(self, seed: int, blocks: tuple[int, ...] = BLOCKS) -> None:
        rng = np.random.default_rng(seed)
        number = int(rng.integers(1, 6))
        self.names = [f"g{i}" for i in range(number)]
        sizes = rng.integers(2, 40, number)
        self.widths = [Width(n, int(s), int(rng.choice(blocks))) for n, s in zip(self.names, sizes, strict=True)]
        # axis i is the width of group i; the input has 3 channels, the output 10
        terms = [Term(0, 3.0 * rng.uniform(1, 50), (0,))]
        terms += [Term(i, float(rng.uniform(1, 50)), (i - 1, i)) for i in range(1, number)]
        terms += [Term(number, 10.0, (number - 1,))]
        self.costs = CostTable(
            tuple(self.names), sizes.astype(float), sizes.astype(float), np.eye(number), tuple(terms), ()
        )
        self.curves: dict[str, FloatArray] = {}
        for width in self.widths:
            steps = np.sort(rng.exponential(size=width.size))[::-1]
            self.curves[width.name] = np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def least(self) -> float:
        return self.costs.macs_at({width.name: width.floor for width in self.widths})

    @property
    def whole(self) -> float:
        return self.costs.macs_at({})

    def budget(self, share: float) -> float:
        return self.least + share * (self.whole - self.least)

    def value(self, counts: Mapping[str, int]) -> float:
        return float(sum(self.curves[name][count] for name, count in counts.items()))


def within(costs: CostTable, most: float) -> Limits:
    """A limit on the MACs."""
    return Limits((Limit("MACs", costs.macs_at, most, costs.whole),), costs.neighbours)


problems = st.builds(Problem, st.integers(0, 100_000))
shares = st.floats(0.0, 1.0)


@policies
@given(problem=problems, share=shares)
def test_the_budget_holds_at_allowed_widths_and_nothing_more_fits(
    policy: Policy, problem: Problem, share: float
) -> None:
    budget = problem.budget(share)
    counts = policy(problem.widths, problem.curves, within(problem.costs, budget))
    assert problem.costs.macs_at(counts) <= budget * (1 + 1e-12)
    for width in problem.widths:
        count = counts[width.name]
        assert width.floor <= count <= width.size
        assert count == width.down(count) or count == width.size
        wider = {**counts, width.name: width.up_one(count)}
        assert count == width.size or problem.costs.macs_at(wider) > budget


@policies
@given(problem=problems)
def test_the_whole_budget_keeps_everything_and_the_least_the_floors(policy: Policy, problem: Problem) -> None:
    everything = policy(problem.widths, problem.curves, within(problem.costs, problem.whole))
    assert everything == {width.name: width.size for width in problem.widths}
    floors = policy(problem.widths, problem.curves, within(problem.costs, problem.least))
    assert floors == {width.name: width.floor for width in problem.widths}


@policies
@given(problem=problems, share=shares)
def test_no_group_grows_beyond_what_other_budgets_left(policy: Policy, problem: Problem, share: float) -> None:
    caps = {width.name: max(width.floor, width.size // 2) for width in problem.widths}
    counts = policy(problem.widths, problem.curves, within(problem.costs, problem.budget(share)), caps)
    assert all(counts[name] <= caps[name] for name in caps)


@policies
@given(seed=st.integers(0, 100_000), low=shares, more=shares)
def test_a_larger_budget_is_worth_as_much_up_to_the_last_block(
    policy: Policy, seed: int, low: float, more: float
) -> None:
    problem = Problem(seed)
    small, large = problem.budget(low), problem.budget(low + more * (1 - low))
    worth = [
        problem.value(policy(problem.widths, problem.curves, within(problem.costs, limit))) for limit in (small, large)
    ]
    block = max(problem.curves[width.name][min(width.block, width.size)] for width in problem.widths)
    assert worth[1] >= worth[0] - block


@policies
def test_equal_prices_are_filled_by_gain(policy: Policy) -> None:
    """Two groups that cost alike: the channels with the largest steps stay, wherever they are."""
    costs = CostTable(("a", "b"), np.array([4.0, 4.0]), np.array([4.0, 4.0]), np.eye(2), terms(2.0, 2.0), ())
    curves = {"a": np.array([0.0, 10.0, 11.0, 12.0, 13.0]), "b": np.array([0.0, 9.0, 17.0, 18.5, 18.6])}
    counts = policy([Width("a", 4), Width("b", 4)], curves, within(costs, 10.0))
    assert counts == {"a": 2, "b": 3}


@policies
def test_a_dear_group_pays_for_what_it_costs(policy: Policy) -> None:
    costs = CostTable(("a", "b"), np.array([4.0, 4.0]), np.array([4.0, 4.0]), np.eye(2), terms(10.0, 1.0), ())
    curves = {name: np.array([0.0, 4.0, 7.0, 9.0, 10.0]) for name in ("a", "b")}
    assert policy([Width("a", 4), Width("b", 4)], curves, within(costs, 14.0)) == {"a": 1, "b": 4}


def terms(*factors: float) -> tuple[Term, ...]:
    return tuple(Term(i, factor, (i,)) for i, factor in enumerate(factors))


@policies
@given(problem=st.builds(Problem, st.integers(0, 100_000), st.just((1,))), share=shares)
def test_where_prices_are_fixed_no_single_swap_is_better(policy: Policy, problem: Problem, share: float) -> None:
    """Without neighbours and with one price for all, the greedy choice is the best there is."""
    number = len(problem.names)
    sizes = problem.costs.sizes
    costs = CostTable(tuple(problem.names), sizes, sizes, np.eye(number), terms(*[1.0] * number), ())
    least = costs.macs_at({width.name: width.floor for width in problem.widths})
    budget = least + share * (costs.macs_at({}) - least)
    counts = policy(problem.widths, problem.curves, within(costs, budget))
    best = problem.value(counts)
    for give in problem.widths:
        for take in problem.widths:
            if give.name != take.name and counts[give.name] > give.floor and counts[take.name] < take.size:
                swapped = {**counts, give.name: counts[give.name] - 1, take.name: counts[take.name] + 1}
                assert problem.value(swapped) <= best + 1e-9


@policies
def test_a_budget_below_the_floors_is_refused_with_the_closest_figure(policy: Policy) -> None:
    problem = Problem(3)
    with refused("over-budget"):
        policy(problem.widths, problem.curves, within(problem.costs, 0.9 * problem.least))


def test_neighbours_are_the_groups_whose_channels_change_in_cost() -> None:
    sizes = np.full(3, 8.0)
    multiplicity = np.zeros((4, 3))
    multiplicity[[0, 1, 2, 3], [0, 1, 2, 0]] = 1  # a reaches axes 0 and 3
    chain = (Term(0, 2.0, (0,)), Term(1, 1.0, (0, 1)), Term(2, 1.0, (2, 3)), Term(3, 5.0, ()))
    costs = CostTable(("a", "b", "c"), sizes, np.full(4, 8.0), multiplicity, chain, ())
    assert costs.neighbours("a") == ("a", "b", "c")
    assert costs.neighbours("b") == ("a", "b")
    assert costs.neighbours("c") == ("a", "c")
