"""The accuracy guard: limits on what may be lost, what a measured result says of them, and what is said of that."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnxprune.errors import InputError, UnreachableError
from onnxprune.pipeline.config import Settings
from onnxprune.pipeline.execution.accept import CLASS_DROP, check_class_drop, collapses
from onnxprune.pipeline.samples import Samples
from onnxprune.values.outcome import Quality

MAX_DROP, MAX_DRIFT = "max_drop", "max_drift"
"""Under these names a plan's request has the most that top-1 may lose, and that an output may change, as shares."""

DROP, DRIFT = 0.01, 0.1
"""The limits where nothing is asked for: of top-1, and without labels of the change of the outputs."""

SLACK = 1e-9
"""What floats may be off."""

FINEST = 0.01
"""A limit of nothing is missed by multiples of this."""


@dataclass(frozen=True)
class Guard:
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
                yield f"changes an output by {found[name]:.1%}, where --max-drift{given} allows {100 * limit:g}%"
            elif name == MAX_DROP:
                yield f"loses {100 * found[name]:.1f} points of top-1, where --max-drop{given} allows {100 * limit:g}"
            else:
                worst = quality.classes[0].name
                lost = f"{100 * found[name]:.1f} points of class {worst!r}"
                yield f"loses {lost}, where --max-class-drop allows {100 * limit:g}"
        if self.refuses_collapse and len(dead := collapses(quality)):
            yield f"is poor: {dead[-1].rstrip('.')}"

    def too_few(self, quality: Quality) -> str | None:
        """Say that the samples are too few to tell what is allowed from noise; None where they are enough."""
        limit = self.limits.get(MAX_DROP)
        if limit is None or quality.change_interval is None:
            return None
        low, high = quality.change_interval
        half = (high - low) / 2
        if half <= limit:
            return None
        enough = f"; about {_rounded_up(quality.samples * (half / limit) ** 2):,} would" if limit else ""
        points = "1 point" if limit == 0.01 else f"{100 * limit:g} points"
        return (
            f"{quality.samples} held-out images cannot tell {points} of top-1 from noise: the 95 % interval of the "
            f"change is {100 * low:+.1f} to {100 * high:+.1f} points{enough}."
        )


def losses(quality: Quality) -> Mapping[str, float]:
    """Return what was lost, by the names of limits; what was not measured is infinitely much."""
    return {
        MAX_DROP: math.inf if quality.change is None else -quality.change,
        MAX_DRIFT: math.inf if quality.moved is None or math.isnan(quality.moved) else quality.moved,
        CLASS_DROP: quality.classes[0].drop if quality.classes else math.inf,
    }


def is_wanted(settings: Settings) -> bool:
    """Whether a plan is to be chosen by what it loses, if there is data to see that on."""
    return settings.max_drop is not None or settings.max_drift is not None or not settings.goal.explicit


def open_guard(settings: Settings, samples: Samples | None) -> Guard | None:
    """Return the limits that were asked for, or where nothing was the default; None: what is lost is as it is.

    Raises:
        InputError: a limit is no share, or there is nothing to hold it against.
    """
    given = {MAX_DROP: settings.max_drop, MAX_DRIFT: settings.max_drift, CLASS_DROP: settings.max_class_drop}
    limits = {name: limit for name, limit in given.items() if limit is not None}
    for name, option in ((MAX_DROP, "--max-drop"), (MAX_DRIFT, "--max-drift")):
        if name in limits and not 0 <= limits[name] <= 1:
            raise InputError(f"{option} is a share from 0 to 1 (of the images, of the outputs), not {limits[name]:g}.")
    if settings.max_drop is not None:
        check_class_drop(settings.max_drop, samples, measured=settings.check_accuracy, option="--max-drop")
    if settings.max_drift is not None and samples is None:
        raise InputError(
            "--max-drift compares outputs on samples; name a folder of images or an .npz file with --data."
        )
    if samples is None or not is_wanted(settings):
        return None
    if settings.explicit:
        return Guard(limits)
    default = {MAX_DROP: DROP} if has_labels(settings, samples) else {MAX_DRIFT: DRIFT}
    return Guard({**default, **limits}, by_default=True, refuses_collapse=not settings.force)


def has_labels(settings: Settings, samples: Samples) -> bool:
    """Whether top-1 is measured."""
    return samples.tried_on.labels is not None and settings.check_accuracy


def judge_final(guard: Guard, quality: Quality | None, *, chosen_on_it: bool) -> tuple[str, ...]:
    """Refuse a final result that misses a limit on the data that it was chosen by; on other data, say so.

    Raises:
        UnreachableError: it does, as training can bring about after the search.
    """
    if quality is None:
        return ()
    measured = {MAX_DROP: quality.change is not None, MAX_DRIFT: quality.moved is not None}
    known = Guard({name: limit for name, limit in guard.limits.items() if measured.get(name)})
    if not known.limits or known.holds(quality):
        return ()
    if chosen_on_it:
        raise UnreachableError(
            f"The final result {known.missed(quality)} (on {quality.samples} held-out images), so nothing was written; "
            "allow more, or train otherwise."
        )
    return (f"On these {quality.samples} images the result {known.missed(quality)}.",)


def _rounded_up(number: float) -> int:
    """Return a number to two digits, upwards."""
    unit = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(number / unit) * unit
