"""Limits on what may be lost: which there are, what a measured result says of them, and what is said of that."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnxprune.errors import InputError
from onnxprune.pipeline.config import Settings
from onnxprune.pipeline.samples import Samples
from onnxprune.selection.goal import Goal
from onnxprune.values.outcome import Quality

CLASS_DROP = "max_class_drop"
"""Under this name a plan's request has the most that a class may lose of its recall, as a share."""

COLLAPSE = 0.05
"""Loss of top-1 beyond which a run that was asked for no budget refuses its result."""

DEAD = 3
"""Images of a class that were right before, from which on it is no chance that none is."""

MAX_DROP, MAX_DRIFT = "max_drop", "max_drift"
"""Under these names a plan's request has the most that top-1 may lose, and that an output may change, as shares."""

DROP, DRIFT = 0.01, 0.1
"""The limits where nothing is asked for: of top-1, and without labels of the change of the outputs."""

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


def check_limits(config: Settings, samples: Samples | None) -> None:
    """Refuse limits that are no shares, or that nothing could be held against, before any model is run.

    Raises:
        InputError: see above.
    """
    for limit, option in ((config.max_drop, "--max-drop"), (config.max_drift, "--max-drift")):
        if limit is not None and not 0 <= limit <= 1:
            raise InputError(f"{option} is a share from 0 to 1 (of the images, of the outputs), not {limit:g}.")
    for limit, option in ((config.max_class_drop, "--max-class-drop"), (config.max_drop, "--max-drop")):
        check_class_drop(limit, samples, measured=config.check_accuracy, option=option)
    if config.max_drift is not None and samples is None:
        raise InputError(
            "--max-drift compares outputs on samples; name a folder of images or an .npz file with --data."
        )


def limits_of(config: Settings, goal: Goal, samples: Samples | None) -> LossLimits | None:
    """Return the limits that were asked for, or where nothing was the default; None: what is lost is as it is."""
    given = {MAX_DROP: config.max_drop, MAX_DRIFT: config.max_drift, CLASS_DROP: config.max_class_drop}
    limits = {name: limit for name, limit in given.items() if limit is not None}
    chosen_by_loss = MAX_DROP in limits or MAX_DRIFT in limits
    if samples is None or (goal.explicit and not chosen_by_loss):
        return None
    if goal.explicit or chosen_by_loss:
        return LossLimits(limits)
    default = {MAX_DROP: DROP} if has_labels(config, samples) else {MAX_DRIFT: DRIFT}
    return LossLimits({**default, **limits}, by_default=True, refuses_collapse=not config.force)


def has_labels(config: Settings, samples: Samples) -> bool:
    """Whether top-1 is measured."""
    return samples.tried_on.labels is not None and config.check_accuracy


def _rounded_up(number: float) -> int:
    """Return a number to two digits, upwards."""
    unit = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(number / unit) * unit


def check_class_drop(
    limit: float | None, samples: Samples | None, *, measured: bool, option: str = "--max-class-drop"
) -> None:
    """Refuse a limit that nothing could be held against, before any work is done.

    Args:
        limit: the most that a class may lose of its recall, or all together of top-1, as a share; None: any.
        samples: the data.
        measured: whether accuracy is to be measured on it.
        option: that asks for it.

    Raises:
        InputError: the limit is no share, or there are no labels to measure classes by.
    """
    if limit is None:
        return
    if not 0 <= limit <= 1:
        raise InputError(f"The most that a class may lose is a share of its images from 0 to 1, not {limit:g}.")
    if samples is None or samples.tried_on.labels is None or samples.measured.labels is None or not measured:
        by_class = " by class" if option == "--max-class-drop" else ""
        missing = "--no-accuracy-check measures none" if samples is not None and not measured else "there are no labels"
        raise InputError(
            f"{option} needs the accuracy{by_class}, but {missing}; give data with one sub-folder per class, or with y."
        )


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
