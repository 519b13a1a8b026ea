"""What is known of the data of a run, in counts and words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxprune.values.accuracy import Accuracy


@dataclass(frozen=True)
class PresetScore:
    """How the model does with one preset: top-1, and the mean natural log of the true class's probability."""

    name: str
    top1: float
    log_probability: float


@dataclass(frozen=True)
class DataSummary:
    """The data of a run.

    Attributes:
        calibration: number of samples that scores are computed from, or that a model is trained on.
        measured: number of samples that accuracy is measured on.
        held: number of samples that plans are tried on, where `measured` is data of its own; None: there are none.
        scaling: how pixels were scaled, in words.
        presets: what every preset scored, where they were tried.
        original: accuracy of the original model on all of the data; None where it was not measured.
        classes: the chosen classes as name -> output of the model; empty: all.
        others: number of samples of other classes that recovery may take in as well.
        skipped: files that could not be read.
        converted: how many images had their channels converted, by what was done.
    """

    calibration: int
    measured: int
    held: int | None = None
    scaling: str = ""
    presets: tuple[PresetScore, ...] = ()
    original: Accuracy | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    others: int = 0
    skipped: tuple[str, ...] = ()
    converted: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "calibration": self.calibration,
            "measured": self.measured,
            "held": self.held,
            "scaling": self.scaling,
            "presets": [vars(score) for score in self.presets],
            "original": None if self.original is None else self.original.to_json(),
            "classes": dict(self.classes),
            "others": self.others,
            "skipped": list(self.skipped),
            "converted": dict(self.converted),
        }
