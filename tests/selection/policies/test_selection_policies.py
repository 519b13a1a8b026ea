"""Every policy meets the limits at allowed widths within the caps; what each does with them is its own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from onnxprune.selection.limits import Limit, Limits
from onnxprune.selection.policy import POLICIES, Problem, find_policy
from onnxprune.selection.widths import Width
from onnxprune.values.statistics import Scores

policies = pytest.mark.parametrize("name", list(POLICIES))
shares = st.floats(0.0, 1.0)


def problem(seed: int, share: float, *, capped: bool = False) -> Problem:
    rng = np.random.default_rng(seed)
    number = int(rng.integers(1, 6))
    widths = [Width(f"g{i}", int(rng.integers(2, 40)), int(rng.choice([1, 1, 4, 8]))) for i in range(number)]
    scores = {width.name: rng.uniform(0.0, 2.0, width.size) for width in widths}
    curves = {name: np.concatenate([[0.0], np.cumsum(np.sort(drawn)[::-1])]) for name, drawn in scores.items()}
    prices = {width.name: float(rng.uniform(1, 50)) for width in widths}

    def cost(counts: dict[str, int]) -> float:
        return sum(prices[name] * count for name, count in counts.items())

    whole, least = cost({w.name: w.size for w in widths}), cost({w.name: w.floor for w in widths})
    limit = Limit("MACs", cost, least + share * (whole - least), whole)  # type: ignore[arg-type]
    caps = {w.name: max(w.floor, w.down(w.size // 2)) if capped else w.size for w in widths}
    limits = Limits((limit,), lambda name: tuple(prices))
    return Problem(widths, Scores(scores, curves=curves), limits, caps, 1.0, cost)  # type: ignore[arg-type]


@policies
@given(seed=st.integers(0, 100_000), share=shares, capped=st.booleans())
def test_limits_hold_at_allowed_widths_within_the_caps(name: str, seed: int, share: float, capped: bool) -> None:
    found = problem(seed, share, capped=capped)
    counts = find_policy(name).choose(found)
    assert found.limits.hold(counts)
    for width in found.widths:
        assert width.floor <= counts[width.name] <= found.caps[width.name]
        assert counts[width.name] in (width.down(counts[width.name]), width.size)


@policies
@given(seed=st.integers(0, 100_000), shares=st.tuples(shares, shares))
def test_a_smaller_budget_is_never_a_larger_network(name: str, seed: int, shares: tuple[float, float]) -> None:
    tight, loose = (problem(seed, share) for share in sorted(shares))
    cost = tight.limits.limits[0].cost
    assert cost(find_policy(name).choose(tight)) <= max(loose.limits.limits[0].most, tight.limits.limits[0].most)
    if name in ("uniform", "threshold"):  # those that give no block back are nested
        small, large = (find_policy(name).choose(found) for found in (tight, loose))
        assert all(small[group] <= large[group] for group in small)


@policies
def test_what_cannot_be_met_is_refused(name: str) -> None:
    found = problem(3, 0.5)
    limit = found.limits.limits[0]
    impossible = Limits((Limit("MACs", limit.cost, 1e-9, limit.whole),), found.limits.neighbours)
    with refused("over-budget"):
        find_policy(name).choose(replace(found, limits=impossible))


def test_uniform_keeps_the_same_share_of_all() -> None:
    widths = [Width("a", 100), Width("b", 50)]
    scores = Scores({"a": np.ones(100), "b": np.zeros(50)})
    limit = Limit("MACs", lambda counts: sum(counts.values()), 90, 150)
    caps = {"a": 100, "b": 50}
    counts = find_policy("uniform").choose(Problem(widths, scores, Limits((limit,), lambda name: ("a", "b")), caps))
    assert counts == {"a": 60, "b": 30}


def test_global_takes_the_lowest_wherever_they_are() -> None:
    widths = [Width("a", 10), Width("b", 10)]
    scores = Scores({"a": np.linspace(1, 2, 10), "b": np.linspace(0, 1, 10)})
    limit = Limit("MACs", lambda counts: sum(counts.values()), 12, 20)
    found = Problem(widths, scores, Limits((limit,), lambda name: ("a", "b")), {"a": 10, "b": 10})
    assert find_policy("global").choose(found) == {"a": 10, "b": 2}


def test_threshold_begins_with_the_methods_own() -> None:
    widths = [Width("a", 10), Width("b", 10)]
    scores = Scores({"a": np.linspace(0.5, 2, 10), "b": np.linspace(0, 1.5, 10)})

    def counts(most: float) -> dict[str, int]:
        limit = Limit("MACs", lambda counts: sum(counts.values()), most, 20)
        limits = Limits((limit,), lambda name: ("a", "b"))
        return find_policy("threshold").choose(Problem(widths, scores, limits, {"a": 10, "b": 10}, 1.0))

    own = counts(20)
    assert own == {"a": 7, "b": 4}
    assert counts(11) == own
    assert counts(6) == {"a": 4, "b": 1}
    with refused("wrong-method", "threshold"):
        find_policy("threshold").choose(Problem(widths, scores, Limits((), lambda name: ()), {"a": 10, "b": 10}))


def test_an_unknown_policy_is_named_with_those_there_are() -> None:
    with refused("unknown-name", "'best'", "global, greedy, latency, loss, sens"):
        find_policy("best")


def test_policy_latency_goes_by_the_latency_whatever_the_limit_is_of() -> None:
    """Both groups cost as many MACs; those of the second take ten times as long, so they go first."""
    widths = [Width("a", 10), Width("b", 10)]
    scores = Scores({"a": np.ones(10), "b": np.ones(10)}, curves={name: np.arange(11.0) for name in "ab"})
    limit = Limit("MACs", lambda counts: counts["a"] + counts["b"], 14.0, 20.0)
    problem = Problem(widths, scores, Limits((limit,), lambda name: ("a", "b")), {"a": 10, "b": 10})
    with refused("missing-option", "latency"):
        find_policy("latency").choose(problem)
    timed = replace(problem, latency=lambda counts: counts["a"] + 10.0 * counts["b"])
    assert find_policy("latency").choose(timed) == {"a": 10, "b": 4}
    assert find_policy("loss").choose(timed) != {"a": 10, "b": 4}
