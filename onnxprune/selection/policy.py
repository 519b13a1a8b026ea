"""What a policy is: how many channels every group keeps within limits; and the registry of all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from onnxprune.errors import InputError, did_you_mean
from onnxprune.registry import Registry, kind_complaint
from onnxprune.selection.limits import Cost, Limits
from onnxprune.selection.widths import Width
from onnxprune.values.statistics import Scores

GROUP = "onnxprune.policies"
"""Entry points under which other packages offer their policies: the name of the policy = where its `Policy` is."""

Curves = Literal["none", "losses", "gains", "measured"]
"""Which curves a policy goes by: none, the reconstruction loss of the consumer layers, the gains of the method, or
the measured change of the outputs."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What widths are chosen for.

    Attributes:
        widths: that every group may take.
        scores: of the channels, with the policy's curves by group: the value of keeping the d best channels.
        limits: that have to hold.
        caps: channels that a group keeps at most.
        threshold: what a channel scores at least by the method's own rule; None: it has none.
        latency: the milliseconds that a network takes, where that can be predicted.
    """

    widths: Sequence[Width]
    scores: Scores
    limits: Limits
    caps: Mapping[str, int]
    threshold: float | None = None
    latency: Cost | None = None


@dataclass(frozen=True)
class Policy:
    """A way from scores to widths.

    Attributes:
        name: what the user calls it.
        summary: one line.
        curves: which curves it goes by.
        choose: the channels that every group keeps; pure. Raises UnreachableError where the limits cannot be met, and
            InputError where what it goes by is missing.
        timed: whether it goes by the latency.
        even: whether its widths are a rule of their own, which is not to be bent to come closer to a limit.
    """

    name: str
    summary: str
    curves: Curves
    choose: Callable[[Problem], dict[str, int]]
    timed: bool = False
    even: bool = False


_complaint = kind_complaint(Policy)
POLICIES: Registry[Policy] = Registry("policy", "onnxprune.selection.policies", GROUP, _complaint)


def register(policy: Policy) -> Policy:
    """Add a policy to the registry."""
    return POLICIES.register(policy.name)(policy)


def find_policy(name: str) -> Policy:
    """Return the policy of a name.

    Raises:
        InputError: there is none.
    """
    if name not in POLICIES:
        nearest = did_you_mean(name, POLICIES)
        known = ", ".join(POLICIES)
        raise InputError(
            POLICIES.unusable(name) or f"There is no policy {name!r}{nearest}; the known ones are {known}.",
            "unknown-name",
        )
    return POLICIES[name]
