"""What every stage of a run is given, in one value."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from onnxprune.analysis.analyse import Analysis
from onnxprune.graph.loaded import Model
from onnxprune.importance.method import Method
from onnxprune.pipeline.config import Settings
from onnxprune.pipeline.result import Extra, Tell, no_extra, unheard
from onnxprune.pipeline.samples import Samples
from onnxprune.selection.goal import Goal
from onnxprune.values.progress import Track, silent


@dataclass(frozen=True, eq=False)
class Job:
    """A run whose model and data are open.

    Attributes:
        settings: what it was told.
        model: what is pruned.
        analysis: of the model.
        samples: the data; None: there is none, or it is not open yet.
        track: receives progress.
        say: hears of the stages.
        extra: makes what is written beside the model.
    """

    settings: Settings
    model: Model
    analysis: Analysis
    samples: Samples | None = None
    track: Track = silent
    say: Tell = unheard
    extra: Extra = no_extra

    @property
    def required_samples(self) -> Samples:
        """The data, where what is done has made sure that there are some."""
        assert self.samples is not None
        return self.samples

    def wishing(self, goal: Goal) -> "Job":
        """Return the same for another goal."""
        return replace(self, settings=replace(self.settings, goal=goal))

    @property
    def classes(self) -> Mapping[str, int]:
        """The chosen classes as name -> output of the model; empty where the data are not restricted to some."""
        return {} if self.samples is None else self.samples.classes

    @property
    def class_outputs(self) -> tuple[int, ...]:
        """The outputs of the chosen classes."""
        return tuple(self.classes.values())

    @property
    def data_facts(self) -> Mapping[str, Any]:
        """What a plan says of the data: enough to judge the scores by, no path of this machine."""
        if self.samples is None:
            return {}
        data = self.samples.calibration
        return {
            "images": len(data),
            "classes": 0 if data.labels is None else len(data.class_names),
            "digest": data.digest(),
            "preprocess": None if data.preprocessed else data.preprocess.to_json(),
        }


@dataclass(frozen=True, eq=False)
class Ranking:
    """The method that a run ranks channels by, and its settled options."""

    method: Method
    options: Mapping[str, Any]

    @property
    def needs_data(self) -> bool:
        """Whether it cannot score without samples."""
        return self.method.needs_data(self.options)
