"""What a run comes to: the figures before and after, the checks, and what the user has to know."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxprune.values.accuracy import Accuracy
from onnxprune.values.brief import brief


@dataclass(frozen=True)
class Figures:
    """One model's size and speed.

    Attributes:
        params: elements of its floating-point constants.
        macs: multiply-adds of Conv, Gemm and MatMul for one sample.
        size: bytes of the file.
        latency_ms: median time of one sample in onnxruntime on this machine; None if not measured.
        channels: prunable channels.
        single_ms: the same on one thread; None if not measured apart.
    """

    params: int
    macs: float
    size: int
    channels: int
    latency_ms: float | None = None
    single_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return dict(vars(self))


@dataclass(frozen=True)
class LayerCost:
    """What a layer costs: multiply-adds for one sample, of the original and of what a plan leaves."""

    name: str
    op: str
    before: float
    after: float

    @property
    def left(self) -> float:
        """What is left, as a share; of nothing nothing."""
        return self.after / self.before if self.before else 0.0

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return dict(vars(self))


BUSY = 1.5
"""Spread of a speedup, upper over lower end, beyond which the machine was too busy to tell it."""


@dataclass(frozen=True)
class Speedup:
    """How many times as fast a model is: the median over calls timed in turn, and the 10th and 90th percentile."""

    median: float
    low: float
    high: float

    @property
    def told(self) -> bool:
        """Whether the machine was quiet enough to tell."""
        return self.high <= BUSY * self.low

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types; nothing but the spread where the machine was too busy."""
        return {"times": self.median if self.told else None, "p10": self.low, "p90": self.high}


@dataclass(frozen=True)
class ClassChange:
    """Top-1 of one class before and after."""

    name: str
    before: float
    after: float
    samples: int

    @property
    def drop(self) -> float:
        """Points lost, as a share."""
        return self.before - self.after


def finite(value: float | None) -> float | None:
    """Return a number that JSON has, or None."""
    return None if value is None or not math.isfinite(value) else value


CUT = "cut"
"""The step before any recovery."""


@dataclass(frozen=True)
class AfterStep:
    """How good the pruned model was after one step: the cut, or a step of the recovery.

    Attributes:
        name: of the step.
        top1: accuracy, where there are labels.
        drift: change of the output that moved most, where there are none.
        error: squared error of the outputs on the samples that chose between the steps, as a share of their squares.
        taken: whether the result goes on from it.
    """

    name: str
    top1: float | None = None
    drift: float | None = None
    error: float | None = None
    taken: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return dict(vars(self))


@brief
@dataclass(frozen=True)
class Quality:
    """What the cut did to the answers, on data that no score saw.

    Labelled data gives `before` and `after`; without labels `drift` holds the relative change of every output.

    Attributes:
        source: the data that was measured on.
        change: after minus before, as a share, with its 95 % interval `change_interval` (paired).
        class_names: names by class index; may be empty.
        drift: output name -> relative L2 change.
        moved: change of the output that moved most, integer outputs (share of unequal elements) included; None where it
            was not measured.
        agreement: share of samples whose highest score is still the same one, by output.
        steps: what the cut and each step of the recovery came to; empty where nothing was recovered.
        among: the chosen classes, where both models had to tell just these apart; empty: all.
        bounds: the most that was lost at the confidence of the run, as a share, by the names of limits in a plan's
            request.
    """

    source: str
    samples: int
    before: Accuracy | None = None
    after: Accuracy | None = None
    change: float | None = None
    change_interval: tuple[float, float] | None = None
    class_names: tuple[str, ...] = ()
    drift: Mapping[str, float] | None = None
    agreement: Mapping[str, float] | None = None
    steps: tuple[AfterStep, ...] = ()
    among: tuple[str, ...] = ()
    moved: float | None = None
    bounds: Mapping[str, float] = field(default_factory=dict)

    def as_step(self, name: str) -> AfterStep:
        """Return what this says of the step `name`, in one figure."""
        worst = None if self.drift is None else self.moved
        if self.drift is not None and worst is None:
            worst = max(self.drift.values(), default=0.0)
        return AfterStep(name, None if self.after is None else self.after.top1, worst)

    @property
    def classes(self) -> tuple[ClassChange, ...]:
        """The classes with samples, the greatest loss first."""
        if self.before is None or self.after is None:
            return ()
        rows = []
        for index, (old, new) in enumerate(zip(self.before.class_top1, self.after.class_top1, strict=True)):
            if old is not None and new is not None:
                name = self.class_names[index] if index < len(self.class_names) else str(index)
                rows.append(ClassChange(name, old, new, self.before.class_total[index]))
        return tuple(sorted(rows, key=lambda row: -row.drop))

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "source": self.source,
            "samples": self.samples,
            "before": None if self.before is None else self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
            "change": self.change,
            "change_interval95": None if self.change_interval is None else list(self.change_interval),
            "classes": [vars(row) for row in self.classes],
            "drift": None if self.drift is None else {name: finite(change) for name, change in self.drift.items()},
            "agreement": None if self.agreement is None else dict(self.agreement),
            "moved": finite(self.moved),
            "bounds": {name: finite(bound) for name, bound in self.bounds.items()},
            "steps": [step.to_json() for step in self.steps],
            "among": list(self.among),
        }
