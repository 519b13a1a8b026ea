"""How many channels every group keeps: the budgets, and the method's policy within them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.errors import InputError, UnreachableError
from onnxprune.importance.method import Method, with_threshold
from onnxprune.selection.budget import all_budgets
from onnxprune.selection.closer import CLOSE, choose_closely, unused
from onnxprune.selection.goal import Goal
from onnxprune.selection.policy import Policy, Problem, find_policy
from onnxprune.selection.ratio import by_ratio
from onnxprune.selection.threshold import by_threshold
from onnxprune.values.amount import percent
from onnxprune.values.branches import Branch, groups_of
from onnxprune.values.statistics import Scores

GAINS = "goes by gains that this method does not give (catro does, with --option widths=greedy)"


def choose_widths(
    analysis: Analysis,
    scores: Scores,
    goal: Goal,
    method: Method,
    options: Mapping[str, Any],
    given: Mapping[str, int] | None = None,
    most: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Return how many channels every prunable group keeps.

    `given` is what other groups keep whatever the scores say; `most` what earlier steps left of each group, whose
    channels that went score lowest.
    """
    budget, costs = goal.budget, replace(analysis.costs, given=given or {})
    widths = [goal.width(group) for group in analysis.prunable if group.name not in costs.given]
    if not widths and not given:
        raise UnreachableError(_why_nothing(analysis), "nothing-to-prune")
    present = kept = {width.name: min(width.top, width.size if most is None else most[width.name]) for width in widths}
    if budget.ratio is not None:
        kept = _stricter(kept, by_ratio(widths, budget.ratio))
    if budget.alpha is not None or not goal.explicit:
        check_threshold(method, budget.alpha)
        if method.threshold is None:
            raise InputError(
                f"Method {method.name} only ranks channels; "
                "say how much goes with --ratio, --macs, --params or --size.",
                "missing-option",
            )
        alpha = 1.0 if budget.alpha is None else budget.alpha
        if not 0 < alpha < np.inf:
            raise InputError(f"--alpha is a multiple of the method's threshold, above 0, not {alpha:g}.", "bad-value")
        by_rule = by_threshold(widths, scores, alpha * method.threshold, method.cap(options), present)
        kept = _stricter(kept, by_rule)
    limits = budget.limits(costs)
    if not limits.hold(kept):
        chosen = policy_of(method, options, goal.policy, scores)
        latency = None if costs.latency_model is None else partial(costs.cost_at, "latency")
        kept = choose_closely(chosen, Problem(widths, scores, limits, kept, method.threshold, latency))
    return kept


def check_threshold(method: Method, alpha: float | None) -> None:
    """Refuse a multiple of the threshold of a method that has none.

    Raises:
        InputError: see above.
    """
    if method.threshold is None and alpha is not None:
        raise InputError(
            f"--alpha is a multiple of a method's own threshold, and {method.name} has none; leave it out, or choose a "
            f"method that has one with --method: {with_threshold()}.",
            "conflicting-options",
        )


def policy_of(method: Method, options: Mapping[str, Any], asked: str | None, scores: Scores | None = None) -> Policy:
    """Return the policy that was asked for, else the method's own; with scores, one that these are enough for.

    Raises:
        InputError: there is none of this name, or what it goes by is missing.
    """
    chosen = find_policy(asked or method.policy(options))
    if scores is None or chosen.curves == "none" or scores.curves:
        return chosen
    if asked is None:
        return find_policy("global")
    missing = {"losses": "takes data to see what the next layers lose", "measured": "takes data to run on"}.get(
        chosen.curves, GAINS
    )
    raise InputError(f"--policy {asked} {missing}; take --policy global or uniform.", "wrong-method")


def refuse_unreachable(analysis: Analysis, goal: Goal, given: Mapping[str, int]) -> None:
    """Refuse budgets that the floors of all groups do not meet, before any work is done.

    Raises:
        InputError: it is no share, widths cannot be rounded so, or the steering has no sense.
        UnreachableError: it cannot be met.
    """
    budget = goal.budget
    if goal.round_to is not None and goal.round_to < 1:
        raise InputError(f"--round-to is a number of channels from 1 up, not {goal.round_to}.", "bad-value")
    if budget.macs is not None and not 0 < budget.macs <= 1:
        raise InputError(
            f"--macs is the share of MACs that may be left, above 0 and up to 100 %, not {100 * budget.macs:.0f} %.",
            "bad-value",
        )
    goal.steering.check(analysis.groups)
    floors = _floors(analysis, goal)
    if floors and goal.leaves_out != "only":  # which says itself what branches come to
        budget.limits(replace(analysis.costs, given=given)).refuse_impossible(floors)


def unused_notes(analysis: Analysis, goal: Goal, counts: Mapping[str, int]) -> Iterator[str]:
    """Say why much less is left than a budget allows, where that is so: the next block of channels is too wide."""
    budget = goal.budget
    steered = bool(goal.steering.ratios) or budget.ratio is not None or budget.alpha is not None
    if not budget.is_limited or budget.latency is not None or goal.leaves_out == "only" or steered:
        return
    limits = goal.budget.limits(analysis.costs)
    if not limits.hold(counts) or unused(limits, counts) <= CLOSE:
        return
    wider = {group.name: goal.width(group).up_one(counts[group.name]) for group in analysis.prunable}
    grown = {name: {**counts, name: count} for name, count in wider.items() if count > counts[name]}
    if not grown or any(limits.hold(other) for other in grown.values()):
        return
    name = min(grown, key=lambda name: float(limits.used(grown[name]).max()))
    limit = max(limits.limits, key=lambda limit: limit.cost(grown[name]) / limit.most)
    shares = [cost / limit.whole for cost in (limit.cost(counts), limit.most, limit.cost(grown[name]))]
    left, asked, next_one = (percent(share) for share in shares)
    closer = "; --round-to 1 comes closer" if (goal.round_to or 1) > 1 else ""
    yield (
        f"{left} of the {limit.what} are left where {asked} were asked for, as the next width of {name!r}, "
        f"{wider[name]} channels, would come to {next_one}{closer}."
    )


def least_left(analysis: Analysis, goal: Goal, given: Mapping[str, int] | None = None) -> dict[str, float]:
    """Return the share of each cost that no budget can get below: with every group at its floor, or as `given`."""
    floors = _floors(analysis, replace(goal, round_to=max(1, goal.round_to or 1)))
    costs = replace(analysis.costs, given=given or {})
    wholes = {each: each.whole(costs) for each in all_budgets()}
    return {each.key or each.name: each.at(costs, floors) / whole for each, whole in wholes.items() if whole}


def _floors(analysis: Analysis, goal: Goal) -> dict[str, int]:
    floors = {group.name: goal.width(group).floor for group in analysis.prunable}
    if goal.leaves_out == "never":
        return floors
    floors = floors if goal.leaves_out == "allowed" else {group.name: group.size for group in analysis.prunable}
    return {**floors, **dict.fromkeys(groups_of(together(analysis, goal)), 0)}


def together(analysis: Analysis, goal: Goal) -> tuple[Branch, ...]:
    """Return branches that can all be left out at once: of a Concat one operand stays, the last."""
    found: list[Branch] = []
    for branch in analysis.branches:
        if goal.may_go(branch, analysis.by_name) and not analysis.misfits([*found, branch]):
            found.append(branch)
    return tuple(found)


def _why_nothing(analysis: Analysis) -> str:
    if len(analysis.groups) == 1:
        group = analysis.groups[0]
        way = f"; --allow {group.opened_by} opens it" if group.opened_by else ""
        found = f"the only channel group, {group.name}, is not free: {group.frozen or group.tied}{way}"
    elif analysis.groups:
        found = f"none of the {len(analysis.groups)} channel groups is free"
        ways = Counter(group.opened_by for group in analysis.groups if group.opened_by)
        would = [f"{count} would be with --allow {way}" for way, count in sorted(ways.items())]
        found += f" ({', '.join(would)})" if would else ""
    elif analysis.unread:
        found = analysis.unread[0]
    else:
        return "Nothing can be pruned: the model has no layers with weights."
    return f"Nothing can be pruned: {found}; `onnxprune inspect` says why."


def _stricter(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """Return the smaller width of each group; costs only fall with widths, so whatever held still holds."""
    return {name: min(count, second[name]) for name, count in first.items()}
