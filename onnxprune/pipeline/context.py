"""What every stage of a run is given, in one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from onnxprune.analysis.analysis import Analysis
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.staging import Staging
from onnxprune.importance.method import Method
from onnxprune.importance.score_file import ScoreFile
from onnxprune.latency.budget import Timing
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.evaluator import Evaluator
from onnxprune.pipeline.events import Listener, Part, PartBegun, Working
from onnxprune.pipeline.extra import Extra
from onnxprune.pipeline.samples import Samples
from onnxprune.pipeline.state import State
from onnxprune.selection.goal import Goal
from onnxprune.selection.loss_limits import LossLimits


@dataclass(frozen=True, eq=False)
class ConfiguredMethod:
    """The method that a run ranks channels by, and its settings."""

    method: Method
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.name

    @property
    def needs_data(self) -> bool:
        """Whether it cannot score without samples."""
        return self.method.needs_data(self.options)


@dataclass(frozen=True, eq=False)
class Run:
    """A run whose model and data are open.

    Attributes:
        config: what it was told.
        goal: what is asked for, with the width block that was found.
        listener: hears what is done.
        extra: makes what is written beside the model.
        staging: files on their way to their places.
        model: what is pruned.
        analysis: of the model.
        method: what channels are ranked by.
        samples: the data; None: there are none.
        imported: scores or keep masks from a file; None: there is no file.
        timing: what is known of the latency.
        limits: on what may be lost; None: there are none.
        state: where the steps that are done are kept; None: nowhere.
        pass_seconds: what a plain pass of the original over the calibration samples should take.
    """

    config: PruneConfig
    goal: Goal
    listener: Listener
    extra: Extra
    staging: Staging
    model: Model
    analysis: Analysis
    method: ConfiguredMethod
    samples: Samples | None = None
    imported: ScoreFile | None = None
    timing: Timing = field(default_factory=Timing)
    limits: LossLimits | None = None
    state: State | None = None
    pass_seconds: float = 0.0

    def working(self, what: str) -> None:
        """Tell that work is begun."""
        self.listener.hear(Working(what))

    def begin(self, part: Part) -> None:
        """Tell that a part of the run begins."""
        self.listener.hear(PartBegun(part))

    @property
    def calibration_samples(self) -> Samples:
        """The data, where what is done has made sure that there are some."""
        assert self.samples is not None
        return self.samples

    @cached_property
    def evaluator(self) -> Evaluator | None:
        """What measures models on the data that is measured on; None without any."""
        return None if self.samples is None else self.evaluator_on(self.samples)

    def evaluator_on(self, samples: Samples) -> Evaluator:
        """Return what measures models on the data of `samples` that is measured on."""
        return Evaluator(self.config, self.model, samples, self.listener.track, samples.known)

    @property
    def has_class_scores(self) -> bool:
        """Whether the labels of the samples are what an output of the model scores."""
        labelled = self.samples is not None and self.samples.calibration.labels is not None
        return labelled and self.config.check_accuracy

    @property
    def has_test_data(self) -> bool:
        """Whether results are measured on data of their own, which no plan was chosen by."""
        return self.samples is not None and self.samples.held is not None

    @property
    def classes(self) -> Mapping[str, int]:
        """The chosen classes as name -> output of the model; empty where the data are not restricted to some."""
        return {} if self.samples is None else self.samples.classes

    @property
    def class_outputs(self) -> tuple[int, ...]:
        """The outputs of the chosen classes."""
        return tuple(self.classes.values())

    @cached_property
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
            **({} if self.samples.others is None else {"others": self.samples.others.digest()}),
        }
