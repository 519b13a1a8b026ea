"""Limits on what a network may cost; all that are given have to hold."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from onnxprune.errors import UnreachableError
from onnxprune.values.amount import percent
from onnxprune.values.axes import FloatArray

Cost = Callable[[Mapping[str, int]], float]
"""From how many channels every group keeps to what the network costs."""


@dataclass(frozen=True)
class Limit:
    """The most of something that may be left.

    Attributes:
        what: it is, in words: MACs, parameters.
        cost: of a network.
        most: that it may be.
        whole: what it is without a cut.
        reserve: of an amount, that was taken off for what the cost does not know of.
        unit: of amounts, and how much one is, where the limit was given as one; None: it was given as a share.
    """

    what: str
    cost: Cost
    most: float
    whole: float
    unit: tuple[str, float] | None = None
    reserve: float = 0.0

    def shown(self, cost: float) -> str:
        """Return a cost and the reserve as the limit was given: as a share of the original's, or in its unit."""
        cost += self.reserve
        if self.unit is None:
            return percent(cost / self.whole)
        name, size = self.unit
        return f"{cost / size:.4g} {name}".rstrip()


@dataclass(frozen=True)
class Limits:
    """Some limits.

    Attributes:
        limits: of which every one has to hold.
        neighbours: from a group to those whose channels change in cost with its width, itself included.
        price: what blocks are weighed by; None: their shares of the limits.
    """

    limits: tuple[Limit, ...]
    neighbours: Callable[[str], Collection[str]]
    price: Cost | None = None

    def used(self, counts: Mapping[str, int]) -> FloatArray:
        """Return what a network costs as shares of what it may, [limits]: up to 1 where a limit holds."""
        return np.array([limit.cost(counts) / limit.most for limit in self.limits])

    def spent(self, counts: Mapping[str, int]) -> FloatArray:
        """Return what blocks are weighed by: the price, [1], or else the shares of the limits, [limits]."""
        return self.used(counts) if self.price is None else np.array([self.price(counts)])

    def hold(self, counts: Mapping[str, int]) -> bool:
        """Whether a network costs no more than it may."""
        return all(limit.cost(counts) <= limit.most for limit in self.limits)

    def refuse_impossible(self, floors: Mapping[str, int]) -> None:
        """Refuse what cannot be met even with every group at its floor.

        Raises:
            UnreachableError: the message has the closest figure of every such limit.
        """
        missed = [said for limit in self.limits if (said := _missed(limit, limit.cost(floors)))]
        if missed:
            raise UnreachableError(" ".join(missed), "over-budget")


def _missed(limit: Limit, least: float) -> str:
    if least <= limit.most:
        return ""
    return (
        f"The budget of {limit.shown(limit.most)} of the {limit.what} cannot be met: with every group at its "
        f"floor {limit.shown(least)} are left; ask for at least that."
    )
