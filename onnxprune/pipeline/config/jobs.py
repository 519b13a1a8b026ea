"""What each command can be told."""

from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
from attrs import field
from attrs.converters import optional

from onnxprune.errors import InputError
from onnxprune.finetune.training.recipe import Recipe
from onnxprune.graph.storage.places import beside, is_null
from onnxprune.pipeline.config.base import Config, given, option, parts, read_fields
from onnxprune.pipeline.config.groups import (
    BUDGET,
    CLASSES,
    DATA,
    METHOD,
    OUTPUT,
    RUN,
    TRAINING,
    Allowing,
    Batches,
    Choosing,
    Classes,
    Libraries,
    Output,
    Pixels,
    Proving,
    Quantizing,
    Ranking,
    Recovering,
    Reported,
    SampleData,
    Seeded,
    Shapes,
    SingleLayers,
    Subject,
    Threads,
    Training,
    budget_names,
)
from onnxprune.pipeline.config.reading import (
    certainty,
    duration,
    few,
    file,
    file_size,
    goal,
    names,
    natural,
    number,
    params,
    path,
    points,
    positive,
    recipe,
    settings,
    share,
    switch,
)
from onnxprune.values.amount import Amount
from onnxprune.values.preprocess import Preprocess

if TYPE_CHECKING:
    from onnxprune.graph.storage.paths import Inputs
    from onnxprune.selection.goal import Branches, Goal
    from onnxprune.values.plan import Plan


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class PruneConfig(
    Seeded,
    Batches,
    Threads,
    Reported,
    Proving,
    Libraries,
    Quantizing,
    Pixels,
    Training,
    Recovering,
    SingleLayers,
    Allowing,
    Shapes,
    Choosing,
    Classes,
    Ranking,
):
    """What `prune` can be told."""

    protect: tuple[str, ...] = field(
        default=(),
        converter=names,
        metadata=option(
            "Classes that must not pay for others, by name or number, such as cat,dog.",
            CLASSES,
            metavar="NAMES",
            more="Their samples count five times in scores, training and recovery.",
        ),
    )
    trim_head: bool = field(
        default=False,
        converter=switch,
        metadata=option(
            "Cut the classifier's outputs to these classes too.",
            CLASSES,
            more="They stay in the model's order, and MODEL.labels.txt has their names.",
        ),
    )
    scores: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option("Take scores, or keep masks, from this file.", METHOD, metavar="FILE.npz", rare=True),
    )
    scores_output: Path | None = field(
        default=None,
        alias="save_scores",
        converter=optional(file),
        metadata=option(
            "Write the scores and the chosen keep masks to this file too.",
            METHOD,
            "--save-scores",
            metavar="FILE.npz",
            rare=True,
        ),
    )
    ratio: float | None = field(
        default=None,
        converter=optional(share),
        metadata=option("Remove this share of the channels of every group.", BUDGET, metavar="SHARE"),
    )
    params: Amount | None = field(
        default=None,
        converter=optional(params),
        metadata=option("Leave at most this many parameters: 40%, or 1.2M.", BUDGET, metavar="SHARE|N"),
    )
    size: Amount | None = field(
        default=None,
        converter=optional(file_size),
        metadata=option(
            "Make the file no larger than this: 40%, or 2MB, 500KiB.",
            BUDGET,
            metavar="SHARE|BYTES",
            more="Data files are included.",
        ),
    )
    latency: Amount | None = field(
        default=None,
        converter=optional(duration),
        metadata=option(
            "Take at most this long for one sample on this machine: 60%, or 4ms.",
            BUDGET,
            metavar="SHARE|TIME",
            more="The network's layers are timed in onnxruntime for that, once.",
        ),
    )
    budgets: Mapping[str, Any] = field(
        factory=dict,
        converter=settings,
        metadata=option(
            f"A budget by its name, such as macs=50%: {', '.join(budget_names())}.",
            BUDGET,
            "--budget",
            metavar="NAME=VALUE",
            many=True,
            rare=True,
            more="May be given several times. Other packages add budgets that have no option of their own.",
        ),
    )
    branches: str | None = field(
        default=None,
        metadata=option(
            "Leave out whole residual branches and operands of Concats: never, allowed beside channels, or only these.",
            BUDGET,
            choices=("never", "allowed", "only"),
            default="allowed with --latency, else never",
            more="What a branch does is measured on the samples; which can go, `onnxprune inspect` says.",
        ),
    )
    latency_table: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "Go by the times of another device, see `onnxprune profile`.", BUDGET, metavar="FILE.json", rare=True
        ),
    )
    max_drop: float | None = field(
        default=None,
        converter=optional(points),
        metadata=option(
            "Lose at most this many points of top-1 on held-out data, such as 1.",
            BUDGET,
            metavar="POINTS",
            more="Alone, the plan with the fewest multiply-adds is searched for that they show to; with budgets, the "
            "plan that these lead to must not visibly lose more. Without any budget: 1. A number in Python is a share: "
            "0.01.",
        ),
    )
    max_drift: float | None = field(
        default=None,
        converter=optional(share),
        metadata=option(
            "The same without labels: the most that an output may change, such as 10%.",
            BUDGET,
            metavar="SHARE",
            more="The change is that of the output that changes most, in the L2 norm. Without any budget and labels: "
            "10%.",
        ),
    )
    max_class_drop: float | None = field(
        default=None,
        converter=optional(points),
        metadata=option(
            "Refuse a result in which any class loses more points of its recall than this.",
            BUDGET,
            metavar="POINTS",
            rare=True,
            more="That is on the test images, such as 5; where plans are tried, on the held-out ones too. A number in "
            "Python is a share: 0.05.",
        ),
    )
    confidence: float = field(
        default=0.95,
        converter=certainty,
        metadata=option(
            "Show the limits on the loss at this confidence.", BUDGET, metavar="SHARE", default="95%", rare=True
        ),
    )
    require_confidence: bool = field(
        default=False,
        converter=switch,
        metadata=option(
            "Write nothing where the held-out samples do not show that the limits on the loss hold.",
            BUDGET,
            more="Without it such a result is written, if it lost nothing visible, and its first line says careful.",
        ),
    )
    steps: int = field(
        default=1,
        converter=few,
        metadata=option(
            "Choose what goes in N steps, each after the first on the recovered network.",
            BUDGET,
            metavar="N",
            default="1",
            more="What is finished is kept in the output with the ending .steps.json until the result is written.",
        ),
    )
    resume: bool = field(
        default=False,
        converter=switch,
        metadata=option("Go on from the last finished step of a run in --steps that was stopped.", BUDGET, rare=True),
    )
    force: bool = field(
        default=False,
        converter=switch,
        metadata=option("Write a poor result even though no budget asked for it.", BUDGET, rare=True),
    )
    finetune: int | None = field(
        default=None,
        converter=optional(positive),
        metadata=option(
            "Train the recovered model on the samples that the scores saw.",
            TRAINING,
            metavar="EPOCHS",
            more="The original is its teacher. `onnxprune finetune` has all settings.",
        ),
    )
    plan_output: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "The plan.", OUTPUT, "--plan", metavar="FILE", default="the output with the ending .plan.json", rare=True
        ),
    )
    pareto: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "Try budgets from mild to the least as well, and write the curve.",
            OUTPUT,
            metavar="PATH",
            more="It goes to PATH.csv, PATH.json and, where matplotlib is installed, as a drawing to PATH.svg.",
        ),
    )
    dry_run: bool = field(
        default=False,
        converter=switch,
        metadata=option("Write the plan and stop; `onnxprune apply` replays it.", OUTPUT),
    )

    training: Recipe | None = field(
        default=None,
        converter=recipe,
        metadata={"help": "How the recovered model is trained, in place of --finetune and what goes with it."},
    )
    teacher: Path | None = field(
        default=None,
        converter=optional(file),
        metadata={"help": "The model that training learns from; None: the model that is cut."},
    )
    _goal: "Goal | None" = field(
        default=None,
        converter=goal,
        metadata={"help": "Budgets, policy, width block and what is said of single layers, as one value."},
    )

    def __attrs_post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            InputError: it does.
        """
        if self.options and self.scores is not None:
            raise InputError(
                "Settings of a method have no say where --scores brings the scores; leave one of the two out.",
                "conflicting-options",
            )
        if self.trim_head and not self.classes:
            raise InputError(
                "--trim-head cuts the classifier to the classes of --classes; name them.", "missing-option"
            )
        if self.fail_if and self.dry_run:
            raise InputError(
                "--fail-if asks what a result is, and --dry-run makes none; leave one of the two out.",
                "conflicting-options",
            )
        self._check_steps()
        self._check_training()
        self._check_quantizing()
        self._check_effort()
        self._check_branches()
        if self.require_confidence and not self.chosen_by_loss and self.max_class_drop is None:
            raise InputError(
                "--require-confidence asks to show that a limit holds, and there is none beside the budgets; give "
                "--max-drop, --max-drift or --max-class-drop, or leave it out.",
                "conflicting-options",
            )
        self.treatment()
        _ = self.goal

    def _check_branches(self) -> None:
        if self.branches == "only" and (self.ratio is not None or self.alpha is not None or self.ratio_for):
            raise InputError(
                "--ratio, --alpha and --ratio-for say how many channels go, and with --branches only none do but those "
                "of branches; give --macs, --params, --size or --latency.",
                "conflicting-options",
            )

    def _check_steps(self) -> None:
        if self.steps > 1 and (self.scores or self.scores_output):
            raise InputError(
                "A file of scores holds those of one step; leave out --steps, --scores or --save-scores.",
                "conflicting-options",
            )
        if self.steps > 1 and self.resume and self.journal is None:
            raise InputError(
                f"A run whose model goes to {self.written} keeps no state; leave out --resume.", "conflicting-options"
            )
        if self.steps == 1 and self.resume:
            raise InputError(
                "--resume goes on with a run in steps; give the number of --steps that it was begun with.",
                "missing-option",
            )
        if self.resume and self.chosen_by_loss and not self.goal.budget.explicit and self.data is not None:
            raise InputError(
                "--resume goes on with the steps of one plan, and without a budget many plans are tried; give the "
                "budget, or the --alpha, that the run was begun with.",
                "missing-option",
            )

    def _check_training(self) -> None:
        if self.recipe is None and (self.told_of_training or self.device != "auto"):
            raise InputError(
                "--lr, --train, --augment and --device are of the training; ask for it with --finetune.",
                "missing-option",
            )
        if self.recipe is not None and self.data is None:
            raise InputError("Training takes samples; name a folder of images or an .npz file with --data.", "no-data")
        if self.recipe is not None and self.dry_run:
            raise InputError(
                "A plan has no training in it; leave out --dry-run, or the training and train the result.",
                "conflicting-options",
            )

    def _check_quantizing(self) -> None:
        if self.quantize is None and self.quantized_output is not None:
            raise InputError(
                "--quantized names the quantized model; ask for it with --quantize int8.", "missing-option"
            )
        if self.quantize is not None and self.data is None:
            raise InputError(
                "--quantize takes samples to find the ranges of activations; name them with --data.", "no-data"
            )
        if self.quantize is not None and self.dry_run:
            raise InputError(
                "A plan has no quantization in it; leave out --dry-run, or --quantize until it is applied.",
                "conflicting-options",
            )

    @property
    def told_of_training(self) -> Mapping[str, Any]:
        """Settings of the training that were given."""
        return given(rate=self.lr, part=self.train, augment=self.augment or None)

    @cached_property
    def recipe(self) -> Recipe | None:
        """How the recovered model is trained; None: not at all."""
        if self.training is not None or self.finetune is None:
            return self.training
        return Recipe(epochs=self.finetune, seed=self.seed, **self.told_of_training)

    @cached_property
    def goal(self) -> "Goal":
        """What widths are to be chosen by.

        Raises:
            InputError: a budget that is none, or that is given twice.
        """
        from onnxprune.selection.budget import read_budget
        from onnxprune.selection.goal import Goal

        if self._goal is not None:
            return self._goal
        amounts = given(macs=self.macs, params=self.params, size=self.size, latency=self.latency)
        twice = next((name for name in amounts if name in self.budgets), None)
        if twice is not None:
            raise InputError(
                f"--{twice} and --budget both say {twice}; leave one of the two out.", "conflicting-options"
            )
        budget = read_budget(self.ratio, self.alpha, **amounts, **self.budgets)
        return Goal(budget, self.round_to, self.policy, self.steering, branches=cast("Branches | None", self.branches))

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
        """Where the parts of the curve go, by their endings; no drawing where matplotlib is not installed."""
        if self.pareto is None:
            return {}
        null, name = is_null(self.pareto), self.pareto.name
        return {
            ending: self.pareto if null else self.pareto.with_name(f"{name}.{ending}")
            for ending in ("csv", "json", *(["svg"] if find_spec("matplotlib") is not None else []))
        }

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
            **self.pages,
        }

    @property
    def inputs(self) -> "Inputs":
        """What a run reads."""
        files = {"the scores": self.scores, "the latency table": self.latency_table}
        files |= {f"library {number} of --custom-ops": library for number, library in enumerate(self.custom_ops, 1)}
        return self.read({"the sample data": self.data, "the test data": self.test, **files}, self.labels, self.teacher)

    @property
    def plan_written(self) -> Path:
        """Where the plan goes."""
        return self.plan_output or beside(self.written, ".plan.json")

    @property
    def journal(self) -> Path | None:
        """Where a run in several steps keeps what it has done; it goes once the result is written."""
        return self.written.with_suffix(".steps.json") if self.steps > 1 and not is_null(self.written) else None

    @property
    def labels_written(self) -> Path | None:
        """Where the names of the classes go that a trimmed classifier has left."""
        return beside(self.written, ".labels.txt") if self.trim_head else None


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class ApplyConfig(Batches, Threads, Reported, Proving, Libraries, Quantizing, Pixels, SampleData):
    """What `apply` can be told."""

    plan: Path = field(
        converter=file, metadata=option("The plan, made for this very model.", DATA, metavar="PLAN", argument=True)
    )

    def replaying(self, plan: "Plan") -> PruneConfig:
        """Return what a run goes by that applies `plan`, with its treatment of pixels where nothing else is said.

        Raises:
            InputError: a treatment of pixels that contradicts itself.
        """
        known = None if self.data is None else plan.data.get("preprocess")
        preprocess, scaling = self.treatment(None if known is None else Preprocess.from_json(known))
        shared = parts(self, Quantizing, Pixels, SampleData, Batches, Threads, Reported, Proving, Libraries)
        shared["also_read"] = {**self.also_read, "the plan": self.plan}
        shared["preprocess"] = preprocess if scaling == "explicit" else scaling
        return PruneConfig(**shared, seed=plan.seed)


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Recipes(Seeded, Training):
    """Everything that a training can be told."""

    epochs: int = field(
        default=10,
        converter=positive,
        metadata=option("Passes over the training samples.", TRAINING, metavar="N", default="10"),
    )
    batch_size: int = field(
        default=128,
        converter=positive,
        metadata=option("Samples a step, over all processes together.", TRAINING, metavar="N", default="128"),
    )
    optimizer: str = field(
        default="sgd",
        metadata=option("What takes the steps.", TRAINING, choices=("sgd", "adamw"), default="sgd"),
    )
    decay: float = field(
        default=5e-4,
        converter=number,
        metadata=option("Weight decay.", TRAINING, metavar="NUMBER", default="0.0005", rare=True),
    )
    schedule: str = field(
        default="cosine",
        metadata=option(
            "How the rate falls after the warm-up.",
            TRAINING,
            choices=("cosine", "step", "constant"),
            default="cosine",
            rare=True,
            more="step: to a tenth every 30 epochs.",
        ),
    )
    warmup: float = field(
        default=0.25,
        converter=number,
        metadata=option(
            "Epochs in which the rate grows from 0.", TRAINING, metavar="EPOCHS", default="0.25", rare=True
        ),
    )
    bn: str = field(
        default="train",
        metadata=option(
            "Whether BatchNormalization goes by the batch (train) or keeps its statistics.",
            TRAINING,
            choices=("train", "eval"),
            default="train",
            rare=True,
        ),
    )
    teach: float = field(
        default=0.5,
        converter=share,
        metadata=option(
            "Weight of the teacher's answers; the labels have the rest.", TRAINING, metavar="SHARE", default="50%"
        ),
    )
    match: str | None = field(
        default=None,
        metadata=option(
            "What is learnt of the teacher: what its blocks make, or its answers.",
            TRAINING,
            choices=("blocks", "answers"),
            default="answers with labels, else blocks",
            rare=True,
            more="Blocks tell many times as much of a sample as answers do, which counts where samples are few.",
        ),
    )
    temperature: float = field(
        default=4.0,
        converter=number,
        metadata=option("Of the teacher's answers.", TRAINING, metavar="T", default="4", rare=True),
    )
    smoothing: float = field(
        default=0.0,
        converter=share,
        metadata=option("Of the labels.", TRAINING, metavar="SHARE", default="0%", rare=True),
    )
    l1: float = field(
        default=0.0,
        converter=number,
        metadata=option(
            "Weight of the sum of all parameters' magnitudes in the loss.",
            TRAINING,
            metavar="WEIGHT",
            default="0",
            rare=True,
            more="0.0001 in class-aware pruning.",
        ),
    )
    orthogonal: float = field(
        default=0.0,
        converter=number,
        metadata=option(
            "Weight of the 3x3 convolutions' distance from orthogonal ones in the loss.",
            TRAINING,
            metavar="WEIGHT",
            default="0",
            rare=True,
            more="0.01 in class-aware pruning.",
        ),
    )
    clip: float = field(
        default=5.0,
        converter=number,
        metadata=option("Largest norm of the gradient; 0: any.", TRAINING, metavar="NORM", default="5", rare=True),
    )
    precision: str = field(
        default="float32",
        metadata=option(
            "Of the activations; bf16 is fast on newer devices.",
            TRAINING,
            choices=("float32", "bf16"),
            default="float32",
            rare=True,
        ),
    )
    patience: int = field(
        default=0,
        converter=natural,
        metadata=option(
            "Stop after N epochs without a better validation score; 0: never.",
            TRAINING,
            metavar="N",
            default="0",
            rare=True,
        ),
    )

    @property
    def recipe(self) -> Recipe:
        """How the model is trained.

        Raises:
            InputError: values that make no sense.
        """
        same = ("epochs", "optimizer", "decay", "schedule", "warmup", "teach", "temperature", "smoothing", "augment")
        rest = ("match", "precision", "clip", "l1", "orthogonal", "patience", "seed")
        told: dict[str, Any] = {name: getattr(self, name) for name in (*same, *rest)}
        told |= {"batch": self.batch_size, "rate": self.lr, "part": self.train or "full", "statistics": self.bn}
        return Recipe(**told)


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class FinetuneConfig(Threads, Recipes, Pixels, Classes, SampleData):
    """What `finetune` can be told."""

    data: Path = field(
        converter=path,
        metadata=option(
            "Training data: a folder with a sub-folder per class, one of images, or an .npz.",
            DATA,
            metavar="PATH",
        ),
    )
    teacher: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option("Learn this model's answers too; without labels, these alone.", DATA, metavar="MODEL"),
    )
    val: Path | None = field(
        default=None,
        converter=optional(path),
        metadata=option("Choose the best epoch on this data instead of a part of --data.", DATA, metavar="PATH"),
    )
    holdout: float = field(
        default=0.1,
        converter=share,
        metadata=option("Share of --data that the best epoch is chosen on.", DATA, metavar="SHARE", default="10%"),
    )
    output: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "The trained model.", OUTPUT, "-o --output", metavar="FILE", default="MODEL.finetuned.onnx beside it"
        ),
    )
    checkpoint: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "The state.", OUTPUT, metavar="FILE", default="the output with the ending .checkpoint", rare=True
        ),
    )
    resume: bool = field(default=False, converter=switch, metadata=option("Go on from the checkpoint.", OUTPUT))
    tensorboard: Path | None = field(
        default=None,
        converter=optional(path),
        metadata=option("Write logs for TensorBoard to this folder too.", OUTPUT, metavar="FOLDER", rare=True),
    )

    @property
    def opening(self) -> PruneConfig:
        """What opening and measuring the data goes by: its test data are the validation data."""
        shared = parts(self, SampleData, Classes, Pixels, Seeded, Threads)
        return PruneConfig(**{**shared, "test": self.val})

    @property
    def written(self) -> Path:
        """Where the trained model goes."""
        return self.output or self.model.with_name(f"{self.model.stem}.finetuned.onnx")

    @property
    def checkpoint_written(self) -> Path:
        """Where the state is kept."""
        return self.checkpoint or beside(self.written, ".checkpoint")

    @property
    def has_checkpoint(self) -> bool:
        """Whether a state is kept there."""
        return self.checkpoint_written.exists() and not is_null(self.checkpoint_written)

    @property
    def inputs(self) -> "Inputs":
        """What is read."""
        data = {"the training data": self.data, "the validation data": self.val, "the test data": self.test}
        return self.read(data, self.labels, self.teacher)


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class IterateConfig(
    Threads,
    Recipes,
    Output,
    Pixels,
    Recovering,
    SingleLayers,
    Allowing,
    Choosing,
    Classes,
    Ranking,
):
    """What `iterate` can be told."""

    data: Path = field(converter=path, metadata=option("Labelled data to score and to train on.", DATA, metavar="PATH"))
    val: Path | None = field(
        default=None,
        converter=optional(path),
        metadata=option(
            "Hold the floor on this data instead of a part of --data.",
            DATA,
            metavar="PATH",
            more="Give it where the model was trained on --data: there it looks better than it is, and what a cut "
            "costs looks more.",
        ),
    )
    iterations: int = field(
        default=5,
        converter=positive,
        metadata=option(
            "In how many --macs is reached.",
            BUDGET,
            metavar="N",
            default="5",
            more="By a threshold as many are done as it takes.",
        ),
    )
    floor: float = field(
        default=0.02,
        converter=points,
        metadata=option(
            "Undo an iteration, and stop, where top-1 is more points below the original's.",
            BUDGET,
            metavar="POINTS",
            default="2",
            more="That is on the validation data. A number in Python is a share: 0.02.",
        ),
    )
    work: Path | None = field(
        default=None,
        converter=optional(path),
        metadata=option(
            "State and models.", OUTPUT, metavar="FOLDER", default="the output with the ending .iterations"
        ),
    )
    resume: bool = field(
        default=False, converter=switch, metadata=option("Go on from the last finished iteration there.", OUTPUT)
    )

    def __attrs_post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            InputError: it does.
        """
        if self.macs is not None and not self.macs:
            raise InputError("--macs is a share above 0 and up to 100%, not 0%.", "bad-value")
        if not self.check_accuracy:
            raise InputError(
                "Iterations are kept by top-1 on the validation data, which --no-accuracy-check leaves unmeasured; "
                "leave that out, and give data with right labels.",
                "bad-value",
            )
        if self.val is not None and self.holdout is not None:
            raise InputError(
                "The floor is held on the data of --val, so --holdout has no say; leave one of the two out.",
                "conflicting-options",
            )
        self._check_effort()
        self.treatment()

    @cached_property
    def pruning(self) -> PruneConfig:
        """What each iteration is told; its budget is that of all together, its test data are the validation data."""
        shared = parts(
            self, Output, Ranking, Classes, Choosing, Allowing, SingleLayers, Recovering, Pixels, Seeded, Threads
        )
        return PruneConfig(**{**shared, "test": self.val}, training=self.recipe, device=self.device)

    @property
    def work_folder(self) -> Path:
        """Where state and models are kept; the null device: nowhere for longer than the run takes."""
        return self.work or beside(self.written, ".iterations")

    @property
    def inputs(self) -> "Inputs":
        """What is read."""
        data = {"the sample data": self.data, "the validation data": self.val, "the test data": self.test}
        return self.read(data, self.labels)


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class CheckConfig(Batches, Threads, Proving, Libraries, Pixels, Subject):
    """What `check` can be told."""

    against: Path = field(
        converter=file,
        metadata=option("The model that it was cut from.", DATA, metavar="ORIGINAL"),
    )
    plan: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option("Its plan.", DATA, metavar="PLAN", default="MODEL.plan.json beside it"),
    )
    data: Path | None = field(
        default=None,
        converter=optional(path),
        metadata=option(
            "Samples that cut and mask are compared on: a folder or an .npz.", DATA, metavar="PATH", default="random"
        ),
    )
    labels: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "Class names, one a line, in the order of the original's outputs.",
            DATA,
            metavar="FILE",
            default="the sorted folder names",
        ),
    )
    trained: bool = field(
        default=False,
        converter=switch,
        metadata=option("Its weights may have been trained since it was written.", RUN),
    )

    @property
    def plan_read(self) -> Path:
        """Where the plan is."""
        return self.plan or beside(self.model, ".plan.json")

    def replaying(self, plan: "Plan", output: Path) -> PruneConfig:
        """Return what a run goes by that cuts the original by `plan`, to `output`.

        Raises:
            InputError: a treatment of pixels that contradicts itself.
        """
        shared = parts(self, Batches, Threads, Proving, Libraries, Pixels)
        also = {"the plan": self.plan_read, "the pruned model": self.model}
        told: dict[str, Any] = {"model": self.against, "plan": self.plan_read, "data": self.data, "labels": self.labels}
        return ApplyConfig(**shared, **told, output=output, also_read=also).replaying(plan)


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class CompareConfig(Batches, Threads, Reported, Libraries, Pixels, Shapes, Classes, Subject):
    """What `compare` can be told."""

    other: Path = field(
        converter=file,
        metadata=option("The model that is measured against it.", DATA, metavar="OTHER", argument=True),
    )
    data: Path = field(
        converter=path,
        metadata=option(
            "What both are measured on: a folder with a sub-folder per class, one of images, or an .npz.",
            DATA,
            metavar="PATH",
            more="Take data that neither model was made with.",
        ),
    )
    labels: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "Class names, one a line, in the order of the first model's outputs.",
            DATA,
            metavar="FILE",
            default="the sorted folder names",
        ),
    )
    check_accuracy: bool = field(
        default=True,
        converter=switch,
        metadata=option(
            "Compare outputs alone, also where the first model is near chance.",
            DATA,
            "--no-accuracy-check",
            python="Compare top-1, and refuse a first model that is near chance on the data.",
            rare=True,
        ),
    )
    confidence: float = field(
        default=0.95,
        converter=certainty,
        metadata=option("Confidence of the bounds.", DATA, metavar="SHARE", default="95%", rare=True),
    )

    @property
    def opening(self) -> PruneConfig:
        """What opening and measuring the data goes by."""
        shared = parts(self, Subject, Classes, Shapes, Pixels, Libraries, Threads, Batches)
        told: dict[str, Any] = {"confidence": self.confidence, "check_accuracy": self.check_accuracy}
        return PruneConfig(**shared, data=self.data, labels=self.labels, **told)

    @property
    def inputs(self) -> "Inputs":
        """What is read."""
        files = {f"library {number} of --custom-ops": library for number, library in enumerate(self.custom_ops, 1)}
        return self.read({"the data": self.data, **files}, self.labels, self.other)


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class ProfileConfig(Threads, Allowing, Shapes, Subject):
    """What `profile` can be told."""

    output: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "The latency table.", OUTPUT, "-o --output", metavar="FILE", default="MODEL.latency.json beside the model"
        ),
    )
    pack: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "Time nothing here, but write one file that does it on a device.",
            OUTPUT,
            metavar="FILE.pyz",
            more="The device needs Python, numpy and onnxruntime.",
        ),
    )
    provider: str | None = field(
        default=None,
        metadata=option("Execution provider of onnxruntime.", RUN, metavar="NAME", default="CPUExecutionProvider"),
    )

    def __attrs_post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            InputError: it does.
        """
        if self.pack is not None and (self.output or self.threads or self.provider):
            raise InputError(
                "--pack times nothing here; give --output, --threads and --provider to the packed file on the device.",
                "conflicting-options",
            )

    @property
    def written(self) -> Path:
        """Where the table goes."""
        return self.output or self.model.with_suffix(".latency.json")


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class InspectConfig(Allowing, Shapes, Subject):
    """What `inspect` can be told."""

    explain: str | None = field(
        default=None,
        metadata=option(
            "Print the chain of ties that froze this axis, or that couples it to others.", OUTPUT, metavar="TENSOR:AXIS"
        ),
    )


@attrs.frozen(slots=False, field_transformer=read_fields)
class MethodsConfig(Config):
    """What `methods` can be told."""

    name: str | None = field(
        default=None, metadata=option("The one to show.", METHOD, metavar="[NAME]", default="all", argument=True)
    )
