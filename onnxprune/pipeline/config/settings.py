"""Everything that a run of `prune` can be told, in one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from onnxprune.finetune.training.recipe import Recipe
from onnxprune.graph.storage.cache import cache_folder
from onnxprune.graph.storage.paths import Inputs
from onnxprune.graph.storage.places import beside, is_null
from onnxprune.selection.goal import Goal
from onnxprune.values.preprocess import Preprocess


@dataclass(frozen=True)
class Settings:
    """What to do and how.

    Attributes:
        model: the .onnx file.
        data: calibration data, see `onnxprune.data`; None where the method needs none, and nothing is measured.
        output: where the pruned model goes; default: model.pruned.onnx beside the model.
        plan_output: where the plan goes; default: the output with the ending .plan.json.
        method, options: the importance method and its settings.
        scores: a file of scores or keep masks that stands in for the method and its settings.
        scores_output: where the scores and the chosen keep masks are written as well, if anywhere.
        goal: what is asked for; nothing: as much as may go by the limits on the loss (`accuracy_guard`), and without
            data by the method's own threshold.
        latency_table: times of this model's layers on another device, see `onnxprune profile`; None: where times are
            asked for, this machine's.
        max_drop: the most that may be lost of top-1, as a share.
        max_drift: the most that an output may change in the L2 norm, as a share.
        pareto: where the curve of plans goes, without the endings .csv, .json and .svg; None: nowhere.
        max_class_drop: the most that any class may lose of its recall, as a share; a result that loses more is refused.
        steps: in how many steps what goes is chosen, each after the first on the recovered network.
        resume: go on from the last finished step of a run that was stopped.
        recovery: how the weights are recovered after the cut: none, bias, fold or refit.
        recipe: how the recovered model is trained before it is measured; None: not at all.
        teacher: the model that it learns from; None: the model that was cut.
        device: what it is trained on: auto, cpu or cuda.
        quantize: how the pruned model is quantized after all else (int8); None: not at all.
        quantized_output: where the quantized model goes; default: the output with the ending .int8.onnx.
        approximate: whether groups that a normalisation runs over may be cut.
        preprocess: geometry, and scaling unless `scaling` says otherwise.
        scaling: a preset, `auto` (the preset that the model scores best with), `explicit` (as `preprocess` has it), or
            None: auto for labelled images, `unit` otherwise.
        labels: file of class names in the order of the model's outputs.
        classes: names (or numbers) of the classes that scores, recovery and accuracy go by; none: all.
        trim_head: whether the classifier's outputs are cut to these classes.
        test: data of its own to measure on; else `holdout` of `data` is kept for it.
        check_accuracy: stop when the original model is near chance.
        force: write even where the result is poor and no budget was asked for.
        dry_run: stop at the plan.
        seed, batch_size, threads: as usual; threads None leaves it to the runtime.
    """

    model: Path
    data: Path | None = None
    output: Path | None = None
    plan_output: Path | None = None
    method: str = "entropy"
    options: Mapping[str, Any] = field(default_factory=dict)
    scores: Path | None = None
    scores_output: Path | None = None
    goal: Goal = field(default_factory=Goal)
    latency_table: Path | None = None
    max_drop: float | None = None
    max_drift: float | None = None
    pareto: Path | None = None
    max_class_drop: float | None = None
    steps: int = 1
    resume: bool = False
    recovery: str = "refit"
    recipe: Recipe | None = None
    teacher: Path | None = None
    device: str = "auto"
    quantize: str | None = None
    quantized_output: Path | None = None
    approximate: bool = False
    preprocess: Preprocess = field(default_factory=Preprocess)
    scaling: str | Literal["auto", "explicit"] | None = None
    labels: Path | None = None
    classes: tuple[str, ...] = ()
    trim_head: bool = False
    test: Path | None = None
    holdout: float = 0.2
    check_accuracy: bool = True
    force: bool = False
    dry_run: bool = False
    seed: int = 0
    batch_size: int = 32
    threads: int | None = None

    @property
    def explicit(self) -> bool:
        """Whether anything was said of how much goes, or of how much may be lost in all."""
        return self.goal.explicit or self.max_drop is not None or self.max_drift is not None

    @property
    def curve_written(self) -> dict[str, Path]:
        """Where the parts of the curve go, by their endings."""
        if self.pareto is None:
            return {}
        names = {ending: f"{self.pareto.name}.{ending}" for ending in ("csv", "json", "svg")}
        null = is_null(self.pareto)
        return {ending: self.pareto if null else self.pareto.with_name(name) for ending, name in names.items()}

    @property
    def outputs(self) -> dict[str, Path | None]:
        """Where a run writes, by what messages call it."""
        return {
            "the model": self.written,
            "the plan": self.plan_written,
            "the labels": self.labels_written,
            "the quantized model": self.quantized_written,
            "the saved scores": self.scores_output,
            **{f"the curve's .{ending}": path for ending, path in self.curve_written.items()},
            "the state": self.journal,
        }

    @property
    def inputs(self) -> Inputs:
        """What a run reads."""
        return Inputs(
            {
                "the sample data": self.data,
                "the test data": self.test,
                "the labels": self.labels,
                "the scores": self.scores,
                "the latency table": self.latency_table,
            },
            {"the input model": self.model, "the teacher": self.teacher},
            cache_folder(),
        )

    @property
    def written(self) -> Path:
        """Where the pruned model goes."""
        return self.output or self.model.with_name(f"{self.model.stem}.pruned.onnx")

    @property
    def plan_written(self) -> Path:
        """Where the plan goes."""
        return self.plan_output or beside(self.written, ".plan.json")

    @property
    def journal(self) -> Path | None:
        """Where a run in several steps keeps what it has done; it goes once the result is written."""
        return self.written.with_suffix(".steps.json") if self.steps > 1 and not is_null(self.written) else None

    @property
    def quantized_written(self) -> Path | None:
        """Where the quantized model goes, if one is asked for."""
        return None if self.quantize is None else self.quantized_output or beside(self.written, ".int8.onnx")

    @property
    def labels_written(self) -> Path | None:
        """Where the names of the classes go that a trimmed classifier has left."""
        return beside(self.written, ".labels.txt") if self.trim_head else None
