"""Plans that were cut, recovered and measured: what each leaves, and what it loses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxprune.values.outcome import Quality, finite

COLUMNS = (
    "asked", "macs", "params", "size", "samples", "top1", "top1_low", "top1_high", "change", "change_low",
    "change_high", "most_lost", "worst_class_drop", "drift", "foreseen", "holds", "chosen",
)  # fmt: skip
"""What is written of a trial, by name."""


@dataclass(frozen=True)
class Trial:
    """A plan that was tried.

    Attributes:
        asked: share of the multiply-adds that could be left; None: what the budgets of the run say.
        macs, params, size: what is left of the original's, as shares; the size as it is foreseen.
        quality: what was measured.
        foreseen: loss of top-1 that the samples which judge let foresee; None: it was not looked at.
        holds: whether the samples show that all limits on the loss hold; None: there are none.
        chosen: whether this is the plan that was taken.
    """

    asked: float | None
    macs: float
    params: float
    size: float
    quality: Quality
    foreseen: float | None = None
    holds: bool | None = None
    chosen: bool = False

    def to_json(self) -> dict[str, Any]:
        """The columns as JSON types; what was not measured is None."""
        quality = self.quality
        top1 = (None, None) if quality.after is None else quality.after.interval
        change = quality.change_interval or (None, None)
        found = (
            self.asked, self.macs, self.params, self.size, quality.samples,
            None if quality.after is None else quality.after.top1, *top1, quality.change, *change,
            finite(quality.bounds.get("max_drop")), quality.classes[0].drop if quality.classes else None,
            finite(quality.moved), self.foreseen, self.holds, self.chosen,
        )  # fmt: skip
        return dict(zip(COLUMNS, found, strict=True))


@dataclass(frozen=True)
class Search:
    """What a run tried before it chose its plan.

    Attributes:
        limits: on what may be lost, as shares, by their names in a plan's request; empty: none.
        source: the data that was measured on.
        trials: the plans, in the order in which they were tried.
        shown: whether the samples were found to show that the plan which was taken holds the limits.
        confidence: at which they were asked, and are to be asked of what is made of it; None: that of the run.
    """

    limits: Mapping[str, float]
    source: str
    trials: tuple[Trial, ...]
    shown: bool = False
    confidence: float | None = None

    @property
    def chosen(self) -> Trial | None:
        """The plan that was taken."""
        return next((trial for trial in self.trials if trial.chosen), None)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        trials = [trial.to_json() for trial in self.trials]
        return {"limits": dict(self.limits), "source": self.source, "trials": trials}
