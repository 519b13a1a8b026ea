"""What widths are chosen by: budgets, the width block, a policy, and what is said of single groups."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import gcd, lcm
from typing import Any, Literal

from onnxprune.selection.budget import Budget
from onnxprune.selection.steering import Steering
from onnxprune.selection.widths import Width
from onnxprune.values.branches import Branch
from onnxprune.values.groups import ChannelGroup

Branches = Literal["never", "allowed", "only"]
"""Whether whole branches may go, beside channels or in place of them."""

ROUND_TO = 8
"""Default width block: what vectorised kernels like, see docs/decisions."""


@dataclass(frozen=True)
class Goal:
    """What widths are to be chosen by.

    Attributes:
        budget: how much may be left.
        round_to: width block; None: that of this machine's kernels, see `latency.block.width_block`.
        slow: widths below one block that are not worth choosing.
        excluded: by group widths that are not to be chosen, as a wider layer was timed to be faster.
        policy: how the budget is shared out over the groups, by name; None: as the method says.
        steering: what is said of single groups.
        branches: whether whole branches may go; None: where a latency is asked for.
    """

    budget: Budget = field(default_factory=Budget)
    round_to: int | None = ROUND_TO
    policy: str | None = None
    steering: Steering = field(default_factory=Steering)
    slow: frozenset[int] = frozenset()
    excluded: Mapping[str, frozenset[int]] = field(default_factory=dict)
    branches: Branches | None = None

    @property
    def leaves_out(self) -> Branches:
        """Whether whole branches may go."""
        return self.branches or ("never" if self.budget.latency is None else "allowed")

    @property
    def explicit(self) -> bool:
        """Whether anything was said of how much goes, so that the result is what was asked for."""
        return self.budget.explicit or bool(self.steering.ratios)

    def to_json(self) -> dict[str, Any]:
        """What was asked for, by name."""
        policy = {} if self.policy is None else {"policy": self.policy}
        branches = {} if self.leaves_out == "never" else {"branches": self.leaves_out}
        return {**self.budget.to_json(), **self.steering.to_json(), **policy, **branches, "round_to": self.round_to}

    def may_go(self, branch: Branch, groups: Mapping[str, ChannelGroup]) -> bool:
        """Whether a branch may be left out, as far as nothing was said of its layers; `groups` are all, by name."""
        widths = (self.width(groups[name]) for name in branch.groups)
        return all(width.least is None and width.most is None for width in widths)

    def width(self, group: ChannelGroup) -> Width:
        """Return the widths that a group may take."""
        found = self.steering.width(group, _block(group, self.round_to or 1))
        excluded = self.excluded.get(group.name, frozenset()) | _slow(group, self.slow)
        return replace(found, excluded=excluded) if found.most is None else found


def _slow(group: ChannelGroup, slow: frozenset[int]) -> frozenset[int]:
    """Return how many channels of `group` make a slow width on an activation axis that they alone reach."""
    own = (member for member in group.members if member.role != "weight" and member.axis not in group.crossed)
    times = {member.positions.shape[1] for member in own}
    return frozenset(width // each for width in slow for each in times if width % each == 0 and width // each)


def _block(group: ChannelGroup, round_to: int) -> int:
    """Return how many channels of `group` fill whole blocks on every activation axis that they reach.

    Of an axis that is cut along another factor too, a channel of one of both may keep any number of its positions.
    """
    blocks = [
        round_to // gcd(round_to, 1 if member.axis in group.uneven else member.positions.shape[1])
        for member in group.members
        if member.role != "weight"
    ]
    return lcm(*blocks) if blocks else 1
