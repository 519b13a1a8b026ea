"""The search for the cheapest cut that holds: right on monotone curves, sober on noisy ones, always short."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.selection.search import CLOSE, MOST, Found, TriedCut, find_cheapest

LOW = 0.02


class Curve:
    """Cuts at some costs (none: at all costs), the excess of each, and what was asked for."""

    def __init__(self, excess: Callable[[float], float], costs: tuple[float, ...] = ()) -> None:
        self.excess, self.costs, self.asked = excess, costs, list[float]()

    def __call__(self, asked: float) -> tuple[float, float]:
        self.asked.append(asked)
        cost = max((cost for cost in self.costs if cost <= asked), default=asked)
        return cost, self.excess(cost)

    def search(self, low: float = LOW, high: float = 1.0, **more: int) -> Found:
        found = find_cheapest(self, low, high, **more)
        assert {point.asked for point in found.points} <= set(self.asked)
        assert len({point.cost for point in found.points}) == len(found.points)
        assert all(low <= asked <= high for asked in self.asked)
        return found


@given(st.floats(0.021, 0.97), st.floats(0.3, 6), st.floats(0.5, 100))
def test_the_limit_of_a_monotone_curve_is_found_closely(limit: float, power: float, scale: float) -> None:
    found = Curve(lambda cost: scale * ((1 - cost) ** power - (1 - limit) ** power)).search()
    assert found.best is not None
    assert limit * (1 - 1e-9) <= found.best.cost <= limit * CLOSE * 1.01
    assert len(found.points) <= MOST


@given(st.lists(st.floats(0.03, 1), min_size=1, max_size=60, unique=True), st.integers(0, 59))
def test_of_cuts_far_apart_the_right_one_is_found(costs: list[float], place: int) -> None:
    steps = (LOW, *sorted(costs), 1.0)
    limit = steps[1 + place % len(costs)]
    found = Curve(lambda cost: limit - cost, steps).search()
    assert found.best is not None
    assert limit <= found.best.cost <= limit * CLOSE * 1.01


@given(st.integers(0, 10**6), st.floats(0.03, 0.95), st.floats(0, 0.5), st.integers(1, 16))
def test_noise_never_gives_a_cut_that_misses_and_never_takes_long(
    seed: int, limit: float, noise: float, most: int
) -> None:
    rng = random.Random(seed)
    steps = tuple(LOW + (1 - LOW) * step / 40 for step in range(41))
    table = {step: (limit - step) / limit + rng.gauss(0, noise) for step in steps[:-1]} | {1.0: -1.0}
    found = Curve(table.__getitem__, steps).search(most=most)
    assert len(found.points) <= most
    assert (found.best and found.best.cost) == min(point.cost for point in found.points if point.holds)


def test_typical_curves_take_ten_trials_at_most() -> None:
    for percent in range(4, 96):
        found = Curve(lambda cost, limit=percent / 100: 30 * (1 - cost) ** 2 - 30 * (1 - limit) ** 2).search()  # type: ignore[misc]
        assert len(found.points) <= 1 + 10, percent


def test_where_the_dearest_misses_nothing_is_found() -> None:
    found = Curve(lambda cost: 2 - cost).search()
    assert found == Found(None, (TriedCut(1.0, 1.0, 1.0),))


def test_where_only_the_dearest_holds_the_mildest_cut_was_tried() -> None:
    found = Curve(lambda cost: 0.5 if cost < 1 else -1.0).search()
    assert found.best == found.points[0]
    assert max(point.cost for point in found.points[1:]) == pytest.approx(1)


def test_where_nothing_can_go_nothing_is_asked_for() -> None:
    found = Curve(lambda cost: -1.0).search(low=1.0)
    assert found == Found(TriedCut(1.0, 1.0, -1.0), (TriedCut(1.0, 1.0, -1.0),))


def test_where_everything_holds_the_least_is_left() -> None:
    found = Curve(lambda cost: -1.0).search()
    assert found.best is not None
    assert found.best.cost <= LOW * CLOSE


def test_a_cut_below_that_holds_by_its_noise_is_taken() -> None:
    """The curve dips a twentieth below the limit's place."""
    found = Curve(lambda cost: -0.1 if 0.47 < cost < 0.48 else 0.5 - cost).search()
    assert found.best is not None
    assert 0.47 < found.best.cost < 0.48


@pytest.mark.parametrize("excess", [math.inf, math.nan])
def test_what_cannot_be_measured_misses(excess: float) -> None:
    found = Curve(lambda cost: excess if cost < 0.5 else -1.0).search()
    assert found.best is not None
    assert 0.5 <= found.best.cost <= 0.5 * CLOSE * 1.01
