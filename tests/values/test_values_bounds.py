"""Upper limits of a loss: what they are where it is known, how often they are right, and what bounds nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from onnxprune.values.bounds import loss_bound, ratio_bound, samples_for


@pytest.mark.parametrize(("lost", "total", "expected"), [(0, 299, 1 - 0.05 ** (1 / 299)), (1, 300, 0.015716)])
def test_where_nothing_was_gained_the_limit_is_exact(lost: int, total: int, expected: float) -> None:
    assert loss_bound(lost, 0, total, 0.95) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("lost", "gained", "total"), [(14, 8, 1000), (5, 5, 10), (3, 1, 500), (2, 9, 60)])
def test_the_limit_is_where_the_score_of_the_likeliest_shares_is_a_quantile(lost: int, gained: int, total: int) -> None:
    bound = loss_bound(lost, gained, total, 0.95)

    def unlikely(both: float) -> float:
        shares = both + bound, both, 1 - 2 * both - bound
        return -float(np.dot((lost, gained, total - lost - gained), np.log(np.maximum(shares, 1e-300))))

    most = (1 - bound) / 2
    both = minimize_scalar(unlikely, bounds=(1e-12, most), method="bounded", options={"xatol": 1e-12}).x
    score = (lost - gained - total * bound) / np.sqrt(total * (2 * both + bound - bound**2))
    assert score == pytest.approx(-1.6448536, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(50, 500))
def test_limits_lie_above_what_was_seen_and_rise_with_losses(lost: int, gained: int, total: int) -> None:
    bound = loss_bound(lost, gained, total, 0.95)
    assert (lost - gained) / total < bound <= 1
    assert bound < loss_bound(lost + 1, gained, total, 0.95)
    assert bound <= loss_bound(lost, gained, total, 0.99)


@pytest.mark.parametrize(("lost", "gained"), [(0.01, 0.0), (0.012, 0.002), (0.02, 0.01), (0.05, 0.04)])
@pytest.mark.parametrize("total", [299, 600, 1500])
def test_a_loss_of_one_point_is_taken_for_less_in_one_of_twenty_draws(lost: float, gained: float, total: int) -> None:
    draws = np.random.default_rng(0).multinomial(total, [lost, gained, 1 - lost - gained], size=4000)
    known = {(a, b): loss_bound(a, b, total, 0.95) < 0.01 for a, b, _ in set(map(tuple, draws.tolist()))}
    wrong = np.mean([known[a, b] for a, b, _ in draws.tolist()])
    assert wrong < 0.06
    assert wrong > 0.01 or total == 299, "and it is no needless caution"


def test_no_samples_bound_nothing() -> None:
    assert loss_bound(0, 0, 0, 0.95) == 1.0
    assert loss_bound(3, 0, 3, 0.95) == 1.0
    assert ratio_bound(np.ones(29), np.ones(29), 0.95) == np.inf
    assert ratio_bound(np.ones(30), np.zeros(30), 0.95) == np.inf
    assert ratio_bound(np.zeros(30), np.zeros(30), 0.95) == 0.0
    assert ratio_bound(np.array([1.0, *[np.inf] * 29]), np.ones(30), 0.95) == np.inf


@pytest.mark.parametrize("limit", [0.005, 0.01, 0.05])
def test_how_many_unchanged_samples_show_a_limit(limit: float) -> None:
    count = samples_for(limit, 0.95)
    assert loss_bound(0, 0, count, 0.95) <= limit < loss_bound(0, 0, count - 1, 0.95)
    assert samples_for(0.0, 0.95) == 0


TAILS = {
    "gamma": lambda rng, n: rng.gamma(4.0, size=n),
    "squared normal": lambda rng, n: rng.normal(size=n) ** 2,
    "log-normal": lambda rng, n: np.exp(rng.normal(size=n)),
}


@pytest.mark.parametrize("count", [30, 60, 200])
@pytest.mark.parametrize("tail", TAILS)
def test_the_limit_of_a_ratio_is_seldom_too_low_whatever_the_tails(tail: str, count: int) -> None:
    rng, wrong = np.random.default_rng(0), 0
    truth = {"gamma": 0.1, "squared normal": 1.0, "log-normal": np.exp(0.5)}[tail]
    for _ in range(1500):
        if tail == "gamma":
            wholes = rng.gamma(4.0, size=count)
            parts = wholes * 0.1 * rng.gamma(2.0, 0.5, size=count)
        else:
            wholes, parts = np.ones(count), TAILS[tail](rng, count)
        wrong += ratio_bound(parts, wholes, 0.95) < truth
    assert wrong / 1500 < (0.08 if count < 60 else 0.07)
    assert wrong > 0, "and it is no needless caution"
