"""What the runs of commands go by, as plain values; `jobs` makes them of what people say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxprune._version import __version__
from onnxprune.finetune.training.recipe import Recipe
from onnxprune.graph.storage.cache import cache_folder
from onnxprune.graph.storage.paths import Inputs
from onnxprune.graph.storage.places import beside, is_null
from onnxprune.selection.goal import Goal
from onnxprune.values.preprocess import Preprocess

if TYPE_CHECKING:
    pass


from typing import Literal


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
    def chosen_by_loss(self) -> bool:
        """Whether a plan is to be chosen by what it loses, if there is data to see that on."""
        return self.max_drop is not None or self.max_drift is not None or not self.goal.explicit

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


@dataclass(frozen=True)
class FinetuneSettings:
    """What to train and how.

    Attributes:
        settings: the model, the data and its treatment; its `test` is the validation data, else `holdout` of the data.
        recipe: how.
        teacher: the model whose answers are learnt.
        measured: data of its own to measure on; None: the validation data.
        device: auto, cpu or cuda.
        checkpoint: where the state is kept; None: beside the output.
        resume: go on from there.
    """

    settings: Settings
    recipe: Recipe = field(default_factory=Recipe)
    teacher: Path | None = None
    measured: Path | None = None
    device: str = "auto"
    checkpoint: Path | None = None
    resume: bool = False

    @property
    def written(self) -> Path:
        """Where the trained model goes."""
        model = self.settings.model
        return self.settings.output or model.with_name(f"{model.stem}.finetuned.onnx")

    @property
    def checkpoint_written(self) -> Path:
        """Where the state is kept."""
        return self.checkpoint or beside(self.written, ".checkpoint")

    @property
    def has_checkpoint(self) -> bool:
        """Whether a state is kept there."""
        return self.checkpoint_written.exists() and not is_null(self.checkpoint_written)

    @property
    def inputs(self) -> Inputs:
        """What is read."""
        settings = self.settings
        return Inputs(
            {
                "the training data": settings.data,
                "the validation data": settings.test,
                "the test data": self.measured,
                "the given labels": settings.labels,
            },
            {"the input model": settings.model, "the teacher": self.teacher},
            cache_folder(),
        )


@dataclass(frozen=True)
class IterateSettings:
    """What to do and how.

    Attributes:
        settings: of every iteration; its budget is that of all together, its recipe the training of each.
        iterations: in how many a budget of MACs is reached; without one, a threshold decides.
        floor: the most top-1 that may be lost on the validation data, as a share; what loses more is undone.
        measured: data of its own to measure the result on; None: the validation data.
        folder: where state and models are kept; None: the output with the ending .iterations.
        resume: go on from there.
    """

    settings: Settings
    iterations: int = 5
    floor: float = 0.02
    measured: Path | None = None
    folder: Path | None = None
    resume: bool = False

    @property
    def work(self) -> Path:
        """Where state and models are kept; the null device: nowhere for longer than the run takes."""
        return self.folder or beside(self.settings.written, ".iterations")

    @property
    def inputs(self) -> Inputs:
        """What is read."""
        return self.settings.inputs.and_files({"the test data": self.measured})

    def to_json(self, digest: str) -> dict[str, Any]:
        """What tells this run from others: a state of another run is not gone on from."""
        settings = self.settings
        return {
            "version": __version__,
            "model": digest,
            "method": settings.method,
            "options": dict(settings.options),
            "budget": settings.goal.budget.to_json(),
            "policy": settings.goal.policy,
            "single layers": settings.goal.steering.to_json(),
            "iterations": self.iterations,
            "floor": self.floor,
            "round_to": settings.goal.round_to,
            "recovery": settings.recovery,
            "approximate": settings.approximate,
            "training": None if settings.recipe is None else settings.recipe.to_json(),
            "classes": list(settings.classes),
            "holdout": settings.holdout,
            "seed": settings.seed,
        }
