"""Finding the cheapest of many cuts that is still good enough, in few trials, by a curve that is measured with noise.

The more is left, the less is lost, but for the noise. A bracket around the limit is narrowed on a logarithmic scale, by
what was measured at both its ends; then a few cuts below the best are tried, as one of them may hold all the same.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

CLOSE = 1.04
"""A bracket is narrow enough when its upper end costs no more than this times its lower one."""

MOST = 12
"""Cuts that are tried at most."""

PROBES = 2
"""Trials below the best at the end."""

DEEPER = 1.06
"""Factor between the best and the first cut that is tried below it, and so on."""

SURE, MIDDLE = 0.3, 0.5
"""Share of a bracket that the next trial keeps from its ends, and where it goes when one end will not move."""

MILDEST = 1 - 1e-9
"""Share of the highest cost that leaves room for the mildest cut of all, and no other."""

WORST = 1e6
"""Excess beyond which it makes no difference how much a limit is missed by."""


@dataclass(frozen=True)
class TriedCut:
    """A cut that was tried.

    Attributes:
        asked: what the cost should be at most.
        cost: what it is, at most what was asked.
        excess: by how much of the limit it is missed; up to 0 where it holds.
    """

    asked: float
    cost: float
    excess: float

    @property
    def holds(self) -> bool:
        """Whether the limit holds; what could not be measured misses it."""
        return self.excess <= 0


@dataclass(frozen=True)
class Found:
    """What a search came to: the cheapest cut that holds (None: not even the dearest does), and all that were tried."""

    best: TriedCut | None
    points: tuple[TriedCut, ...]


def find_cheapest(
    evaluate: Callable[[float], tuple[float, float]], low: float, high: float, *, most: int = MOST
) -> Found:
    """Return the cheapest cut that was found to hold.

    Args:
        evaluate: from the most that a cut may cost to what it costs and its excess, see `TriedCut`. Cuts of the same
            cost are the same cut, which is measured once.
        low: what every cut costs at least, above 0.
        high: what the dearest costs.
        most: cuts that are tried at most.
    """
    points: list[TriedCut] = []

    def attempt(asked: float) -> TriedCut:
        point = TriedCut(asked, *evaluate(asked))
        known = next((other for other in points if other.cost == point.cost), None)
        if known is None:
            points.append(point)
        return TriedCut(asked, point.cost, (known or point).excess)

    good = top = attempt(high)
    if not top.holds:
        return Found(None, tuple(points))
    floor, bad, stuck = low, None, 0
    while len(points) < most - PROBES and good.cost > CLOSE * floor:
        point = attempt(_between(floor, good, bad, stuck))
        if point.holds and point.cost < good.cost:
            good, stuck = point, min(stuck, 0) - 1
        else:
            floor, bad, stuck = point.asked, point, max(stuck, 0) + 1
    if good is top:
        if len(points) < most and MILDEST * top.cost >= low:
            point = attempt(MILDEST * top.cost)
            good = point if point.holds and point.cost < good.cost else good
        return Found(good, tuple(points))
    asked = good.cost
    for _ in range(PROBES):
        asked = min(asked, good.cost) / DEEPER
        known = any(point.cost <= asked <= point.asked for point in points)
        if asked >= low and not known and len(points) < most:
            point = attempt(asked)
            good = point if point.holds and point.cost < good.cost else good
    return Found(good, tuple(points))


def _between(floor: float, good: TriedCut, bad: TriedCut | None, stuck: int) -> float:
    """Return where to try next: where a line through both ends meets the limit, well inside the bracket.

    `stuck` counts how often in a row the same end has moved; from the second time on the middle is taken.
    """
    share = MIDDLE
    if bad is not None and abs(stuck) < 2:
        over, under = (math.asinh(min(point.excess, WORST)) for point in (bad, good))
        share = min(max(-under / (over - under), SURE), 1 - SURE) if math.isfinite(over) and over > under else MIDDLE
    return math.exp((1 - share) * math.log(good.cost) + share * math.log(floor))
