"""Budgets: what can be limited, the shares of the way to them, and what users give."""

from dataclasses import fields
from typing import get_args

import pytest
from refusals import refused

from onnxprune.selection.budget import BUDGETS, Budget, Limited, all_budgets, read_budget
from onnxprune.selection.schedule import left_after
from onnxprune.values.amount import Amount
from onnxprune.values.costs import Kind


def test_every_kind_of_cost_can_be_limited_by_a_field_of_the_budget() -> None:
    assert [each.key or each.name for each in all_budgets()] == list(get_args(Kind))
    assert set(BUDGETS) == {each.name for each in fields(Budget)} - {"ratio", "alpha", "budgets"}


@pytest.mark.parametrize("limited", all_budgets(), ids=lambda limited: limited.name)
def test_what_is_limited_is_read_and_reached_in_parts(limited: Limited) -> None:
    name = limited.name
    budget = read_budget(**{name: 0.25})
    assert budget.is_limited
    assert not budget.is_own_rule
    assert budget.to_json() == {name: 0.25}
    assert budget.part(1.0) is budget
    (left,) = budget.part(0.5).limited.values()
    assert left.number == pytest.approx(0.5)
    assert left.is_share


def test_what_is_left_shrinks_geometrically() -> None:
    macs = [Budget(macs=0.25, alpha=2.0).part(number / 4) for number in range(1, 5)]
    assert [budget.macs for budget in macs] == pytest.approx([0.25**0.25, 0.5, 0.25**0.75, 0.25])
    assert {budget.alpha for budget in macs} == {2.0}
    assert Budget(ratio=0.75).part(1 / 2).ratio == pytest.approx(0.5)
    assert Budget(ratio=0.3).part(3 / 3) == Budget(ratio=0.3)
    assert left_after(0.5, -1.0) == 0.0


def test_amounts_have_units_of_their_own() -> None:
    assert read_budget(size="2kB", params="1k", latency="1s") == Budget(
        params=Amount(1000.0, False, "1k"), size=Amount(2000.0, False, "2kB"), latency=Amount(1000.0, False, "1s")
    )
    with refused("bad-value", "params=1 furlong"):
        read_budget(params="1 furlong")
