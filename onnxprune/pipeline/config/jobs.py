"""What each command can be told."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field
from attrs.converters import optional

from onnxprune.errors import InputError
from onnxprune.finetune.training.recipe import Recipe
from onnxprune.pipeline.config.base import Config, given, option, read_fields
from onnxprune.pipeline.config.groups import (
    BUDGET,
    CLASSES,
    DATA,
    METHOD,
    OUTPUT,
    RUN,
    TRAINING,
    Approximating,
    Batches,
    Choosing,
    Classes,
    Output,
    Pixels,
    Quantizing,
    Ranking,
    Recovering,
    Reported,
    Samples,
    Seeded,
    SingleLayers,
    Subject,
    Threads,
    Training,
    budget_names,
)
from onnxprune.pipeline.config.reading import (
    duration,
    file_size,
    natural,
    number,
    params,
    path,
    points,
    positive,
    settings,
    share,
    switch,
)
from onnxprune.values.amount import Amount
from onnxprune.values.preprocess import Preprocess

if TYPE_CHECKING:
    from onnxprune.pipeline.config.settings import FinetuneSettings, IterateSettings, Settings
    from onnxprune.selection.goal import Goal
    from onnxprune.values.plan import Plan

"""Files by what messages call them."""


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class PruneConfig(
    Seeded,
    Batches,
    Threads,
    Reported,
    Quantizing,
    Pixels,
    Training,
    Recovering,
    SingleLayers,
    Approximating,
    Choosing,
    Classes,
    Ranking,
):
    """What `prune` can be told."""

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
        converter=optional(path),
        metadata=option("Take scores, or keep masks, from this file.", METHOD, metavar="FILE.npz", rare=True),
    )
    scores_output: Path | None = field(
        default=None,
        alias="save_scores",
        converter=optional(path),
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
    latency_table: Path | None = field(
        default=None,
        converter=optional(path),
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
            more="Alone, the plan with the fewest multiply-adds is searched for that does; with budgets, the plan that "
            "they lead to has to. Without any budget: 1. A number in Python is a share: 0.01.",
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
    steps: int = field(
        default=1,
        converter=positive,
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
        converter=optional(path),
        metadata=option(
            "The plan.", OUTPUT, "--plan", metavar="FILE", default="the output with the ending .plan.json", rare=True
        ),
    )
    pareto: Path | None = field(
        default=None,
        converter=optional(path),
        metadata=option(
            "Try budgets from mild to the least as well, and write the curve.",
            OUTPUT,
            metavar="PATH",
            more="It goes to PATH.csv, PATH.json and PATH.svg (a plot, which needs matplotlib).",
        ),
    )
    dry_run: bool = field(
        default=False,
        converter=switch,
        metadata=option("Write the plan and stop; `onnxprune apply` replays it.", OUTPUT),
    )

    def __attrs_post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            InputError: it does.
        """
        if self.options and self.scores is not None:
            raise InputError(
                f"Settings of a method have no say where {self.called('scores')} brings the scores; leave one of the "
                "two out."
            )
        self.treatment()
        _ = self.recipe

    @property
    def recipe(self) -> Recipe | None:
        """How the recovered model is trained; None: not at all.

        Raises:
            InputError: settings of a training that was not asked for, or that make no sense.
        """
        told = given(rate=self.lr, part=self.train, augment=self.augment or None)
        if self.finetune is not None:
            return Recipe(epochs=self.finetune, seed=self.seed, **told)
        if told or self.device != "auto":
            these = self.called("lr", "train", "augment", "device")
            raise InputError(f"{these} are of the training; ask for it with {self.called('finetune')}.")
        return None

    @property
    def goal(self) -> "Goal":
        """What widths are to be chosen by.

        Raises:
            InputError: a budget that is none, or that is given twice.
        """
        from onnxprune.selection.budget import read_budget
        from onnxprune.selection.goal import Goal

        amounts = given(macs=self.macs, params=self.params, size=self.size, latency=self.latency)
        twice = [f"{self.called(name)} and {self.called('budgets')}" for name in amounts if name in self.budgets]
        if twice:
            raise InputError(f"{twice[0]} say the same; leave one of the two out.")
        budget = read_budget(self.ratio, self.alpha, **amounts, **self.budgets)
        return Goal(budget, self.round_to, self.policy, self.steering)

    def settings(self) -> "Settings":
        """Return what the pipeline goes by.

        Raises:
            InputError: an unknown method, or a setting of another type than the method's.
        """
        from onnxprune.importance.method import find_method
        from onnxprune.pipeline.config.settings import Settings

        return Settings(
            model=self.model,
            data=self.data,
            output=self.output,
            plan_output=self.plan_output,
            method=self.method,
            options=find_method(self.method).read(self.options),
            scores=self.scores,
            scores_output=self.scores_output,
            goal=self.goal,
            latency_table=self.latency_table,
            max_drop=self.max_drop,
            max_drift=self.max_drift,
            pareto=self.pareto,
            max_class_drop=self.max_class_drop,
            steps=self.steps,
            resume=self.resume,
            recovery=self.recovery,
            recipe=self.recipe,
            device=self.device,
            quantize=self.quantize,
            quantized_output=self.quantized_output,
            approximate=self.approximate,
            preprocess=self.pixels,
            scaling=self.scaling,
            labels=self.labels,
            classes=self.classes,
            trim_head=self.trim_head,
            test=self.test,
            holdout=self.holdout,
            check_accuracy=self.check_accuracy,
            force=self.force,
            dry_run=self.dry_run,
            seed=self.seed,
            batch_size=self.batch_size,
            threads=self.threads,
        )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class ApplyConfig(Batches, Threads, Reported, Quantizing, Pixels, Samples):
    """What `apply` can be told."""

    plan: Path = field(
        converter=path, metadata=option("The plan, made for this very model.", DATA, metavar="PLAN", argument=True)
    )

    def settings(self, plan: "Plan") -> "Settings":
        """Return what the pipeline goes by, with the plan's treatment of pixels where nothing else is said.

        Raises:
            InputError: a treatment of pixels that contradicts itself.
        """
        from onnxprune.pipeline.config.settings import Settings

        known = None if self.data is None else plan.data.get("preprocess")
        preprocess, scaling = self.treatment(None if known is None else Preprocess.from_json(known))
        return Settings(
            model=self.model,
            data=self.data,
            output=self.output,
            quantize=self.quantize,
            quantized_output=self.quantized_output,
            preprocess=preprocess,
            scaling=scaling,
            labels=self.labels,
            test=self.test,
            holdout=self.holdout,
            check_accuracy=self.check_accuracy,
            seed=plan.seed,
            batch_size=self.batch_size,
            threads=self.threads,
        )


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
        rest = ("precision", "clip", "l1", "orthogonal", "patience", "seed")
        told: dict[str, Any] = {name: getattr(self, name) for name in (*same, *rest)}
        told |= {"batch": self.batch_size, "rate": self.lr, "part": self.train or "full", "statistics": self.bn}
        return Recipe(**told)


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class FinetuneConfig(Threads, Recipes, Pixels, Classes, Samples):
    """What `finetune` can be told."""

    data: Path = field(
        converter=path,
        metadata=option(
            "Training data: a folder with a sub-folder per class, one of images, or an .npz (x, y).",
            DATA,
            metavar="PATH",
        ),
    )
    teacher: Path | None = field(
        default=None,
        converter=optional(path),
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
        converter=optional(path),
        metadata=option(
            "The trained model.", OUTPUT, "-o --output", metavar="FILE", default="MODEL.finetuned.onnx beside it"
        ),
    )
    checkpoint: Path | None = field(
        default=None,
        converter=optional(path),
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

    def settings(self) -> "FinetuneSettings":
        """Return what the pipeline goes by.

        Raises:
            InputError: values that make no sense.
        """
        from onnxprune.pipeline.config.settings import FinetuneSettings, Settings

        settings = Settings(
            model=self.model,
            data=self.data,
            output=self.output,
            preprocess=self.pixels,
            scaling=self.scaling,
            labels=self.labels,
            classes=self.classes,
            test=self.val,
            holdout=self.holdout,
            check_accuracy=self.check_accuracy,
            seed=self.seed,
            threads=self.threads,
        )
        return FinetuneSettings(
            settings,
            self.recipe,
            teacher=self.teacher,
            measured=self.test,
            device=self.device,
            checkpoint=self.checkpoint,
            resume=self.resume,
        )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class IterateConfig(
    Threads,
    Recipes,
    Output,
    Pixels,
    Recovering,
    SingleLayers,
    Approximating,
    Choosing,
    Classes,
    Ranking,
):
    """What `iterate` can be told."""

    data: Path = field(converter=path, metadata=option("Labelled data to score and to train on.", DATA, metavar="PATH"))
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

    def settings(self) -> "IterateSettings":
        """Return what the pipeline goes by.

        Raises:
            InputError: an unknown method, a setting of another type than the method's, or values that make no sense.
        """
        from onnxprune.importance.method import find_method
        from onnxprune.pipeline.config.settings import IterateSettings, Settings
        from onnxprune.selection.budget import Budget
        from onnxprune.selection.goal import Goal

        settings = Settings(
            model=self.model,
            data=self.data,
            output=self.output,
            method=self.method,
            options=find_method(self.method).read(self.options),
            goal=Goal(Budget(None, self.macs, self.alpha), self.round_to, self.policy, self.steering),
            recovery=self.recovery,
            recipe=self.recipe,
            device=self.device,
            approximate=self.approximate,
            preprocess=self.pixels,
            scaling=self.scaling,
            labels=self.labels,
            classes=self.classes,
            holdout=self.holdout,
            check_accuracy=self.check_accuracy,
            seed=self.seed,
            threads=self.threads,
        )
        return IterateSettings(
            settings,
            iterations=self.iterations,
            floor=self.floor,
            measured=self.test,
            folder=self.work,
            resume=self.resume,
        )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class ProfileConfig(Threads, Approximating, Subject):
    """What `profile` can be told."""

    output: Path | None = field(
        default=None,
        converter=optional(path),
        metadata=option(
            "The latency table.", OUTPUT, "-o --output", metavar="FILE", default="MODEL.latency.json beside the model"
        ),
    )
    pack: Path | None = field(
        default=None,
        converter=optional(path),
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
            these = self.called("output", "threads", "provider").replace("--output", "-o")
            raise InputError(
                f"{self.called('pack')} times nothing here; give {these} to the packed file on the device."
            )

    @property
    def written(self) -> Path:
        """Where the table goes."""
        return self.output or self.model.with_suffix(".latency.json")


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class InspectConfig(Approximating, Subject):
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
