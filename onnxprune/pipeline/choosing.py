"""How many channels every group keeps: the budgets, and the method's policy within them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import gcd, lcm
from typing import Any, get_args

import numpy as np

from onnxprune.analysis.analyse import Analysis
from onnxprune.errors import InputError, UnreachableError
from onnxprune.importance.method import Method
from onnxprune.selection.limits import Limit, Limits
from onnxprune.selection.policy import Policy, Problem, find_policy
from onnxprune.selection.ratio import by_ratio
from onnxprune.selection.steering import Steering
from onnxprune.selection.threshold import by_threshold
from onnxprune.selection.widths import Width
from onnxprune.values.amount import Amount
from onnxprune.values.costs import CostTable, Kind
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Scores

ROUND_TO = 8
"""Default width block: what vectorised kernels like, see docs/decisions."""

GAINS = "goes by gains that this method does not give (catro does, with --option widths=greedy)"

RESERVE = 1024
"""Bytes of a budget of size that are kept for what the file is told of the cut."""


@dataclass(frozen=True)
class Budget:
    """What is asked for; every budget given must hold.

    Attributes:
        ratio: share of the channels of every group to remove.
        macs: share of the multiply-adds that may be left.
        alpha: threshold of the method's own rule, as a multiple of the rule's threshold.
        params: parameters that may be left.
        size: bytes that the file may have.
        latency: milliseconds that one sample may take, as foretold by the costs' clock.
    """

    ratio: float | None = None
    macs: float | None = None
    alpha: float | None = None
    params: Amount | None = None
    size: Amount | None = None
    latency: Amount | None = None

    @property
    def is_own_rule(self) -> bool:
        """Whether the method's own rule alone decides, at whatever multiple of its threshold."""
        return self.ratio is None and not self.is_limited

    @property
    def is_limited(self) -> bool:
        """Whether anything is limited that widths are chosen within."""
        return any(value is not None for value in (self.macs, self.params, self.size, self.latency))

    @property
    def explicit(self) -> bool:
        """Whether anything was asked for, beyond the method's own rule."""
        return any(value is not None for value in vars(self).values())

    def in_shares(self, costs: CostTable) -> "Budget":
        """Return the budget with every amount as a share of the original's."""
        params = None if self.params is None else self.params.as_share(costs.whole_of("params"))
        size = None if self.size is None else self.size.as_share(costs.whole_of("bytes"))
        latency = None if self.latency is None else self.latency.as_share(costs.whole_of("latency"))
        return replace(self, params=params, size=size, latency=latency)

    def limits(self, costs: CostTable) -> Limits:
        """Return what the costs of a network may be.

        Raises:
            InputError: the latency is limited, and nothing foretells it.
        """
        if self.latency is not None and costs.clock is None:
            raise InputError(
                "A budget of latency takes a latency table, which `onnxprune.prune` makes; plan by another one."
            )
        macs = None if self.macs is None else Amount(self.macs, True, "")
        asked: tuple[tuple[Kind, str, Amount | None, float], ...] = (
            ("macs", "MACs", macs, 0.0),
            ("params", "parameters", self.params, 0.0),
            ("bytes", "file's size", self.size, RESERVE),
            ("latency", "latency", self.latency, 0.0),
        )
        found = [
            Limit(what, partial(costs.cost_at, kind), max(1e-9, amount.of(costs.whole_of(kind)) - reserve),
                  costs.whole_of(kind))
            for kind, what, amount, reserve in asked
            if amount is not None
        ]  # fmt: skip
        return Limits(tuple(found), costs.neighbours)

    def to_json(self) -> dict[str, float | str]:
        """What was asked for, by name."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return {name: value.to_json() if isinstance(value, Amount) else value for name, value in given.items()}


@dataclass(frozen=True)
class Wish:
    """What widths are to be chosen by.

    Attributes:
        budget: how much may be left.
        round_to: width block; None: that of this machine's kernels, see `timing.settle_block`.
        slow: widths below one block that are not worth choosing.
        barred: by group widths that are not to be chosen, as a wider layer was timed to be faster.
        policy: how the budget is shared out over the groups, by name; None: as the method says.
        steering: what is said of single groups.
    """

    budget: Budget = field(default_factory=Budget)
    round_to: int | None = ROUND_TO
    policy: str | None = None
    steering: Steering = field(default_factory=Steering)
    slow: frozenset[int] = frozenset()
    barred: Mapping[str, frozenset[int]] = field(default_factory=dict)

    @property
    def explicit(self) -> bool:
        """Whether anything was said of how much goes, so that the result is what was asked for."""
        return self.budget.explicit or bool(self.steering.ratios)

    def to_json(self) -> dict[str, Any]:
        """What was asked for, by name."""
        policy = {} if self.policy is None else {"policy": self.policy}
        return {**self.budget.to_json(), **self.steering.to_json(), **policy, "round_to": self.round_to}

    def width(self, group: ChannelGroup) -> Width:
        """Return the widths that a group may take."""
        found = self.steering.width(group, _block(group, self.round_to or 1))
        barred = self.barred.get(group.name, frozenset()) | _slow(group, self.slow)
        return replace(found, barred=barred) if found.most is None else found


def choose_widths(
    analysis: Analysis,
    scores: Scores,
    wish: Wish,
    method: Method,
    options: Mapping[str, Any],
    given: Mapping[str, int] | None = None,
    most: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Return how many channels every prunable group keeps.

    `given` is what other groups keep whatever the scores say; `most` what earlier steps left of each group, whose
    channels that went score lowest.
    """
    budget, costs = wish.budget, replace(analysis.costs, given=given or {})
    widths = [wish.width(group) for group in analysis.prunable]
    if not widths and not given:
        raise UnreachableError(_why_nothing(analysis))
    present = kept = {width.name: min(width.top, width.size if most is None else most[width.name]) for width in widths}
    if budget.ratio is not None:
        kept = _stricter(kept, by_ratio(widths, budget.ratio))
    if budget.alpha is not None or not wish.explicit:
        if method.threshold is None:
            raise InputError(
                f"Method {method.name} only ranks channels; say how much goes with --ratio, --macs, --params or --size."
            )
        alpha = 1.0 if budget.alpha is None else budget.alpha
        if not 0 < alpha < np.inf:
            raise InputError(f"--alpha is a multiple of the method's threshold, above 0, not {alpha:g}.")
        by_rule = by_threshold(widths, scores, alpha * method.threshold, method.cap(options), present)
        kept = _stricter(kept, by_rule)
    limits = budget.limits(costs)
    if not limits.hold(kept):
        chosen = policy_of(method, options, wish.policy, scores)
        clock = None if costs.clock is None else partial(costs.cost_at, "latency")
        kept = chosen.choose(Problem(widths, scores, limits, kept, method.threshold, clock))
    return kept


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
    raise InputError(f"--policy {asked} {missing}; take --policy global or uniform.")


def refuse_unreachable(analysis: Analysis, wish: Wish, given: Mapping[str, int]) -> None:
    """Refuse budgets that the floors of all groups do not meet, before any work is done.

    Raises:
        InputError: it is no share, widths cannot be rounded so, or the steering has no sense.
        UnreachableError: it cannot be met.
    """
    budget = wish.budget
    if wish.round_to is not None and wish.round_to < 1:
        raise InputError(f"--round-to is a number of channels from 1 up, not {wish.round_to}.")
    if budget.macs is not None and not 0 < budget.macs <= 1:
        raise InputError(
            f"--macs is the share of MACs that may be left, above 0 and up to 100%, not {budget.macs:.0%}."
        )
    wish.steering.check(analysis.groups)
    floors = _floors(analysis, wish)
    if floors:
        budget.limits(replace(analysis.costs, given=given)).refuse_impossible(floors)


def least_left(analysis: Analysis, wish: Wish, given: Mapping[str, int] | None = None) -> dict[Kind, float]:
    """Return the share of each cost that no budget can get below: with every group at its floor, or as `given`."""
    floors = _floors(analysis, replace(wish, round_to=max(1, wish.round_to or 1)))
    costs, kinds = replace(analysis.costs, given=given or {}), get_args(Kind)
    return {kind: costs.cost_at(kind, floors) / costs.whole_of(kind) for kind in kinds if costs.whole_of(kind)}


def _floors(analysis: Analysis, wish: Wish) -> dict[str, int]:
    return {group.name: wish.width(group).floor for group in analysis.prunable}


def _why_nothing(analysis: Analysis) -> str:
    if analysis.groups:
        found = f"none of the {len(analysis.groups)} channel groups is free"
    elif analysis.unread:
        found = analysis.unread[0]
    else:
        return "Nothing can be pruned: the model has no layers with weights."
    return f"Nothing can be pruned: {found}; `onnxprune inspect` says why."


def _stricter(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """Return the smaller width of each group; costs only fall with widths, so whatever held still holds."""
    return {name: min(count, second[name]) for name, count in first.items()}


def _slow(group: ChannelGroup, slow: frozenset[int]) -> frozenset[int]:
    """Return how many channels of `group` make a slow width on an activation axis that they reach."""
    times = {member.positions.shape[1] for member in group.members if member.role != "weight"}
    return frozenset(width // each for width in slow for each in times if width % each == 0 and width // each)


def _block(group: ChannelGroup, round_to: int) -> int:
    """Return how many channels of `group` fill whole blocks on every activation axis that they reach."""
    blocks = [
        round_to // gcd(round_to, member.positions.shape[1]) for member in group.members if member.role != "weight"
    ]
    return lcm(*blocks) if blocks else 1
