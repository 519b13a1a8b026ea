"""Several limits at once: all hold, one that does not bind changes nothing, an impossible one is named."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from onnxprune.selection.greedy import grow, shrink
from onnxprune.selection.limits import Limit, Limits
from onnxprune.selection.threshold import by_budget
from onnxprune.selection.widths import Width
from onnxprune.values.costs import CostTable, Term
from onnxprune.values.statistics import Scores


def by_scores(widths: list[Width], curves: dict[str, np.ndarray], limits: Limits) -> dict[str, int]:
    """The policy of one threshold, with scores that are the steps of the curves."""
    return by_budget(widths, Scores({name: np.diff(curve) for name, curve in curves.items()}), limits)[0]


Policy = Callable[..., dict[str, int]]
policies = pytest.mark.parametrize("policy", [grow, shrink, by_scores])
shares = st.floats(0.0, 1.0)


class Problem:
    """A chain of layers whose first are dear in MACs and whose last are dear in parameters."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        number = int(rng.integers(2, 6))
        names = tuple(f"g{i}" for i in range(number))
        sizes = rng.integers(2, 40, number)
        self.widths = [Width(n, int(s), int(rng.choice([1, 1, 4, 8]))) for n, s in zip(names, sizes, strict=True)]
        pairs = [((i - 1, i) if i else (0,)) for i in range(number)]
        macs = tuple(Term(i, float(4.0 ** (number - i)), pair) for i, pair in enumerate(pairs))
        params = tuple(Term(i, float(1 + i), pair) for i, pair in enumerate(pairs))
        self.costs = CostTable(
            names, sizes.astype(float), sizes.astype(float), np.eye(number), macs, params, others={"params": 7.0}
        )
        self.curves = {
            w.name: np.concatenate([[0.0], np.cumsum(np.sort(rng.exponential(size=w.size))[::-1])]) for w in self.widths
        }
        self.floors = {width.name: width.floor for width in self.widths}

    def limit(self, kind: str, share: float) -> Limit:
        cost = self.costs.macs_at if kind == "macs" else self.costs.params_at
        least = cost(self.floors)
        return Limit(kind, cost, least + share * (cost({}) - least), cost({}))

    def within(self, *limits: Limit) -> Limits:
        return Limits(limits, self.costs.neighbours)


problems = st.builds(Problem, st.integers(0, 100_000))


@policies
@given(problem=problems, macs=shares, params=shares)
def test_all_limits_hold_and_nothing_more_fits(policy: Policy, problem: Problem, macs: float, params: float) -> None:
    limits = problem.within(problem.limit("macs", macs), problem.limit("params", params))
    counts = policy(problem.widths, problem.curves, limits)
    assert limits.hold(counts)
    for width in problem.widths:
        wider = {**counts, width.name: width.up_one(counts[width.name])}
        assert counts[width.name] == width.size or not limits.hold(wider)


@policies
@given(problem=problems, share=shares)
def test_the_order_of_limits_changes_nothing_and_a_loose_one_is_met(
    policy: Policy, problem: Problem, share: float
) -> None:
    tight, loose = problem.limit("macs", share), problem.limit("params", 1.0)
    one = policy(problem.widths, problem.curves, problem.within(tight, loose))
    other = policy(problem.widths, problem.curves, problem.within(loose, tight))
    assert one == other
    assert problem.costs.macs_at(one) <= tight.most


@policies
def test_no_limit_keeps_everything(policy: Policy) -> None:
    problem = Problem(1)
    assert policy(problem.widths, problem.curves, problem.within()) == {w.name: w.size for w in problem.widths}


@policies
@given(problem=problems)
def test_every_impossible_limit_is_named_with_the_closest_figure(policy: Policy, problem: Problem) -> None:
    missed = [Limit(what, problem.costs.params_at, 0.5, problem.costs.params_at({})) for what in ("one", "two")]
    with refused("over-budget", "of the one", "of the two"):
        policy(problem.widths, problem.curves, problem.within(*missed, problem.limit("macs", 1.0)))


def test_costs_count_what_no_width_has_a_say_in() -> None:
    costs = Problem(2).costs
    assert costs.whole_of("params") == costs.params_at({})
    assert costs.params_at({}) - sum(
        term.factor * np.prod(costs.widths[list(term.axes)]) for term in costs.params
    ) == pytest.approx(7.0)
    assert costs.whole_of("bytes") == 0
