"""What two models of the same task have in common and how they differ."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onnxprune._version import RESULT_FORMAT, __version__
from onnxprune.values.brief import brief
from onnxprune.values.data import DataSummary
from onnxprune.values.measures import measures
from onnxprune.values.outcome import Figures, Quality, Speedup, finite


@dataclass(frozen=True)
class OpCount:
    """How many nodes of a kind each of two models has."""

    op: str
    before: int
    after: int


@brief
@dataclass(frozen=True, eq=False)
class Compared:
    """The result of comparing two models.

    Attributes:
        model: the first one.
        other: the second one; `before` is of the first, `after` of this.
        before, after: size and speed.
        quality: accuracy, or change of the outputs.
        agreement: share of the samples to which both give the same class; None: they give none.
        drift: output name -> relative L2 change, or share of unequal elements of outputs of whole numbers.
        skipped: outputs that cannot be compared, with the reason.
        ops: kinds of nodes of which one model has more.
        data: the data.
        speedup: of the second model.
        single_speedup: the same on one thread.
        threads: threads of the runtime; None: its default.
        confidence: of the bounds.
        notes: sentences for the user.
    """

    model: Path
    other: Path
    before: Figures
    after: Figures
    quality: Quality
    agreement: float | None
    drift: Mapping[str, float]
    skipped: Mapping[str, str]
    ops: tuple[OpCount, ...]
    data: DataSummary
    speedup: Speedup | None = None
    single_speedup: Speedup | None = None
    threads: int | None = None
    confidence: float = 0.95
    notes: tuple[str, ...] = field(default=())

    @property
    def measures(self) -> dict[str, float]:
        """What conditions can ask for, by name."""
        return measures(self.before, self.after, self.quality, self.speedup, self.single_speedup)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "version": __version__,
            "format": RESULT_FORMAT,
            "model": str(self.model),
            "other": str(self.other),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "speedup": None if self.speedup is None else self.speedup.to_json(),
            "single_speedup": None if self.single_speedup is None else self.single_speedup.to_json(),
            "threads": self.threads,
            "quality": self.quality.to_json(),
            "agreement": self.agreement,
            "drift": {name: finite(change) for name, change in self.drift.items()},
            "not_compared": dict(self.skipped),
            "ops": [asdict(count) for count in self.ops],
            "data": self.data.to_json(),
            "confidence": self.confidence,
            "measures": {name: finite(value) for name, value in self.measures.items()},
            "notes": list(self.notes),
        }
