"""Limits on what may be lost, and what a measured result says of them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

from onnxprune.values.accuracy import Z95
from onnxprune.values.amount import percent
from onnxprune.values.bounds import FEWEST, samples_for
from onnxprune.values.outcome import Quality

CLASS_DROP = "max_class_drop"
"""Under this name a plan's request has the most that a class may lose of its recall, as a share."""


COLLAPSE = 0.05
"""Loss of top-1 beyond which a run that was asked for no budget refuses its result."""


DEAD = 3
"""Images of a class that were right before, from which on it is no chance that none is."""


MAX_DROP, MAX_DRIFT = "max_drop", "max_drift"
"""Under these names a plan's request has the most that top-1 may lose, and that an output may change, as shares."""


SLACK = 1e-9
"""What floats may be off."""


FINEST = 0.01
"""A limit of nothing is missed by multiples of this."""


@dataclass(frozen=True)
class LossLimits:
    """Limits on what may be lost.

    Attributes:
        limits: as shares, by their names in a plan's request.
        by_default: whether nobody asked for them.
        refuses_collapse: whether what `collapses` finds misses them as well.
    """

    limits: Mapping[str, float]
    by_default: bool = False
    refuses_collapse: bool = False

    def excess(self, quality: Quality) -> float:
        """Return by how much of itself the limit is missed that is missed most; up to 0 where all hold."""
        worst = max((losses(quality)[name] - limit - SLACK) / (limit or FINEST) for name, limit in self.limits.items())
        return max(worst, 1.0) if self.refuses_collapse and collapses(quality) else worst

    def holds(self, quality: Quality) -> bool:
        """Whether all limits hold; what could not be measured misses them."""
        return self.excess(quality) <= 0

    def missed(self, quality: Quality) -> str:
        """Say what a result loses that no limit allows: "loses 1.7 points of top-1, where --max-drop allows 1"."""
        return " and ".join(self._missed(quality))

    def _missed(self, quality: Quality) -> Iterator[str]:
        found = losses(quality)
        for name, limit in self.limits.items():
            if found[name] <= limit + SLACK:
                continue
            given = " by default" if self.by_default and name != CLASS_DROP else ""
            if name == MAX_DRIFT:
                yield f"changes an output by {percent(found[name])}, where --max-drift{given} allows {100 * limit:g} %"
            elif name == MAX_DROP:
                yield f"loses {100 * found[name]:.1f} points of top-1, where --max-drop{given} allows {100 * limit:g}"
            else:
                worst = quality.classes[0].name
                lost = f"{100 * found[name]:.1f} points of class {worst!r}"
                yield f"loses {lost}, where --max-class-drop allows {100 * limit:g}"
        if self.refuses_collapse and len(dead := collapses(quality)):
            yield f"is poor: {dead[-1].rstrip('.')}"

    def shown(self, quality: Quality) -> bool:
        """Whether what was measured shows that all limits hold, at the confidence of its bounds."""
        if self.refuses_collapse and collapses(quality):
            return False
        return all(quality.bounds.get(name, math.inf) <= limit + SLACK for name, limit in self.limits.items())

    def visibly_missed(self, quality: Quality) -> bool:
        """Whether a limit is missed by more than what chance does to the samples.

        Of top-1 and of a class that is a loss whose lower end is above nothing, and the loss itself above the limit.
        """
        if self.holds(quality):
            return False
        found = losses(quality)
        missed = {name for name, limit in self.limits.items() if found[name] > limit + SLACK}
        sure = quality.change_interval is None or quality.change_interval[1] < 0
        return sure or not missed <= {MAX_DROP} or (self.refuses_collapse and bool(collapses(quality)))

    def can_be_shown(self, samples: int, confidence: float) -> bool:
        """Whether so many samples could show that the limits hold, if hardly anything changed on them."""
        limit = self.limits.get(MAX_DROP)
        if MAX_DRIFT in self.limits and samples < FEWEST:
            return False
        return limit is None or (limit > 0 and samples_for(limit, confidence) <= samples)

    def enough(self, quality: Quality, confidence: float) -> int | None:
        """Return how many samples like these would show that top-1 holds its limit; None: that is not all, or none.

        Samples change sides as often as they did; where none did, none does.
        """
        limit, change = self.limits.get(MAX_DROP), quality.change
        others = (name for name in self.limits if name != MAX_DROP)
        if any(quality.bounds.get(name, math.inf) > self.limits[name] + SLACK for name in others):
            return None
        if not limit or change is None or quality.change_interval is None or -change >= limit:
            return None
        low, high = quality.change_interval
        spread = ((high - low) / (2 * Z95)) ** 2 * quality.samples  # of one sample; half a sample is added to each side
        least = samples_for(limit, confidence)
        if spread * quality.samples <= UNCHANGED:
            return _rounded_up(least)
        z = NormalDist().inv_cdf(confidence)
        return _rounded_up(max(least, spread * (z / (limit + change)) ** 2))


UNCHANGED = 1.01
"""Variance of a paired change, times the squared samples, up to which no sample changed sides."""


def losses(quality: Quality) -> Mapping[str, float]:
    """Return what was lost, by the names of limits; what was not measured is infinitely much."""
    return {
        MAX_DROP: math.inf if quality.change is None else -quality.change,
        MAX_DRIFT: math.inf if quality.moved is None or math.isnan(quality.moved) else quality.moved,
        CLASS_DROP: quality.classes[0].drop if quality.classes else math.inf,
    }


def _rounded_up(number: float) -> int:
    """Return a number to two digits, upwards."""
    unit = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(number / unit) * unit


def collapses(quality: Quality | None) -> tuple[str, ...]:
    """Say what of the accuracy was lost that nobody gives away unasked."""
    found = []
    if quality is not None and quality.change is not None:
        if quality.change < -COLLAPSE:
            found.append(f"Top-1 fell by {-100 * quality.change:.1f} points.")
        dead = [row.name for row in quality.classes if row.after == 0 and row.before * row.samples > DEAD - 0.5]
        if dead:
            found.append(f"No image of {', '.join(dead)} is classified right any more.")
    return tuple(found)
