"""The options that several commands share, by what they are about."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field
from attrs.converters import optional

from onnxprune.errors import InputError
from onnxprune.graph.storage.places import beside
from onnxprune.importance import DEFAULT_METHOD
from onnxprune.pipeline.config.base import Config, given, option, read_fields
from onnxprune.pipeline.config.reading import (
    ALLOWED,
    Size,
    allowed,
    block,
    bytes_of_memory,
    conditions,
    few,
    file,
    files,
    libraries,
    multiple,
    names,
    natural,
    number,
    numbers,
    path,
    patterns,
    positive,
    ratios,
    settings,
    shapes,
    share,
    size,
    steering,
    switch,
)
from onnxprune.registry import names_of
from onnxprune.selection.widths import FLOOR
from onnxprune.values.conditions import MEASURES, Condition
from onnxprune.values.preprocess import PRESETS, Preprocess

if TYPE_CHECKING:
    from onnxprune.graph.storage.paths import Inputs
    from onnxprune.selection.steering import Steering

DATA = "Data"
BUDGET = "Budgets (all given must hold)"
OUTPUT = "Output"
METHOD = "Method"
CLASSES = "Some of the classes"
LAYERS = "Single layers"
RECOVERY = "Recovery (no labels)"
TRAINING = "Training (needs torch)"
QUANTIZATION = "Quantization (after all else)"
PIXELS = "Preprocessing of images"
RUN = "Running"
TALK = "Messages"
SECTIONS = (DATA, BUDGET, OUTPUT, METHOD, CLASSES, LAYERS, RECOVERY, TRAINING, QUANTIZATION, PIXELS, RUN, TALK)
"""The headings in the order in which they are shown."""


EFFORTS = {"fast": "fold", "default": "refit", "best": "match"}
"""The recovery that each effort stands for."""


def policy_names() -> tuple[str, ...]:
    """Return the names of all policies; nothing is imported."""
    return names_of("onnxprune.selection.policies", "onnxprune.policies")


def recovery_names() -> tuple[str, ...]:
    """Return the names of all recoveries, and the one under which nothing is recovered; nothing is imported."""
    return ("none", *names_of("onnxprune.recovery.ways", "onnxprune.recoveries"))


def budget_names() -> tuple[str, ...]:
    """Return the names of all budgets; nothing is imported."""
    return names_of("onnxprune.selection.budgets", "onnxprune.budgets")


def _policies() -> str:
    """Say what each policy does."""
    from onnxprune.selection.policy import POLICIES

    return " ".join(f"{policy.name}: {policy.summary}." for policy in POLICIES.values())


def measure_words() -> str:
    """Say what each measure is."""
    return "; ".join(f"{name}: {what}" for name, what in MEASURES.items())


@attrs.frozen(slots=False, field_transformer=read_fields)
class Subject(Config):
    """The model."""

    model: Path = field(
        converter=file, metadata=option("The .onnx file; it is never changed.", DATA, metavar="MODEL", argument=True)
    )
    also_read: Mapping[str, Path] = field(
        factory=dict,
        converter=files,
        kw_only=True,
        metadata={"help": "Further files that are not to be written over, by what messages call them."},
    )

    def read(
        self, data: Mapping[str, Path | None], labels: Path | None = None, teacher: Path | None = None
    ) -> "Inputs":
        """Return all that a command reads: `data` by what messages call it, class names, and models."""
        from onnxprune.graph.storage.cache import cache_folder
        from onnxprune.graph.storage.paths import Inputs

        models = {"the input model": self.model, "the teacher": teacher}
        return Inputs({**data, "the labels": labels, **self.also_read}, models, cache_folder())


@attrs.frozen(slots=False, field_transformer=read_fields)
class SampleData(Subject):
    """Sample data, and what is measured on it."""

    data: Path | None = field(
        default=None,
        converter=optional(path),
        metadata=option(
            "Samples: a folder with a sub-folder per class, one of images, or an .npz.",
            DATA,
            metavar="PATH",
            more="Not needed where the method reads the model alone; nothing is measured then.",
        ),
    )
    test: Path | None = field(
        default=None,
        converter=optional(path),
        kw_only=True,
        metadata=option(
            "Measure on this data, which nothing is chosen by, not on a part of --data.", DATA, metavar="PATH"
        ),
    )
    labels: Path | None = field(
        default=None,
        converter=optional(file),
        kw_only=True,
        metadata=option(
            "Class names, one a line, in the order of the model's outputs.",
            DATA,
            metavar="FILE",
            default="the sorted folder names",
        ),
    )
    holdout: float | None = field(
        default=None,
        converter=optional(share),
        kw_only=True,
        metadata=option(
            "Share of --data that is kept for measuring.",
            DATA,
            metavar="SHARE",
            default="20%, or half and more where that can show that --max-drop holds",
        ),
    )
    check_accuracy: bool = field(
        default=True,
        converter=switch,
        kw_only=True,
        metadata=option(
            "Go on even if the original model is near chance.",
            DATA,
            "--no-accuracy-check",
            python="Refuse an original model that is near chance on the data.",
            rare=True,
            more="The change of the outputs is gone by then, instead of top-1.",
        ),
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Classes(Config):
    """The classes that matter."""

    classes: tuple[str, ...] = field(
        default=(),
        converter=names,
        metadata=option(
            "The classes that matter, by name or number, such as cat,dog,frog.",
            CLASSES,
            metavar="NAMES",
            more="Scores and training see their samples alone, recovery others where they help; accuracy is among "
            "these classes.",
        ),
    )


@attrs.frozen(slots=False, field_transformer=read_fields)
class Ranking(SampleData):
    """What channels are ranked by.

    It comes after the data, so that `prune(model, data, method)` has this order for mypy too.
    """

    method: str = field(
        default=DEFAULT_METHOD,
        metadata=option(
            "What channels are ranked by: `onnxprune methods` lists all.",
            METHOD,
            metavar="NAME",
            default=DEFAULT_METHOD,
            more="Settings of its own are options as well: `onnxprune methods NAME` lists them.",
        ),
    )
    options: Mapping[str, Any] = field(
        factory=dict,
        converter=settings,
        kw_only=True,
        metadata=option(
            "A setting of the method, as `onnxprune methods NAME` lists them.",
            METHOD,
            "--option",
            metavar="NAME=VALUE",
            many=True,
            rare=True,
            more="May be given several times.",
        ),
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Choosing(Config):
    """How much goes, and how that is shared out."""

    macs: float | None = field(
        default=None,
        converter=optional(share),
        metadata=option("Leave at most this share of the multiply-adds, such as 50%.", BUDGET, metavar="SHARE"),
    )
    alpha: float | None = field(
        default=None,
        converter=optional(multiple),
        metadata=option(
            "Remove what scores below this multiple of the method's own threshold.", BUDGET, metavar="NUMBER", rare=True
        ),
    )
    policy: str | None = field(
        default=None,
        metadata=option(
            f"How a budget is shared out: {', '.join(policy_names())}.",
            BUDGET,
            metavar="NAME",
            default="as the method says, mostly loss",
            more=_policies,
        ),
    )
    round_to: int | None = field(
        default=None,
        converter=block,
        metadata=option(
            "Round widths to multiples of N, which kernels are fast at; 1: no rounding.",
            BUDGET,
            metavar="N|auto",
            default="auto",
            more="auto measures what this machine's kernels are fast at, once.",
        ),
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Shapes(Config):
    """What free sizes of inputs are taken for."""

    input_shape: Mapping[str, tuple[int | None, ...]] = field(
        factory=dict,
        converter=shapes,
        metadata=option(
            "The shape of an input whose file leaves sizes free, such as x=1,3,48,320.",
            DATA,
            metavar="NAME=SIZES",
            many=True,
            rare=True,
            default="that of the data, or one that the model takes",
            more="Multiply-adds and times are for it.",
        ),
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Allowing(Config):
    """Which groups may be cut."""

    allow: tuple[str, ...] = field(
        default=(),
        converter=allowed,
        metadata=option(
            "Cut what a normalisation or softmax runs over, or states.",
            LAYERS,
            choices=("exact", *ALLOWED),
            default="exact",
            more="approximate: groups that these run over; the result is not that of zeroing these channels. "
            "interface: an input and the output that is fed back into it lose the same channels, and change their "
            "shapes. Both: approximate,interface.",
        ),
    )

    @property
    def approximate(self) -> bool:
        """Whether groups that a normalisation runs over may be cut."""
        return "approximate" in self.allow

    @property
    def interface(self) -> bool:
        """Whether states that come in and go out may be cut."""
        return "interface" in self.allow


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class SingleLayers(Config):
    """What is said of single layers."""

    keep: tuple[str, ...] = field(
        default=(),
        converter=patterns,
        metadata=option(
            "Leave layers whole, such as 'stem*'; may be given several times.",
            LAYERS,
            metavar="PATTERN",
            many=True,
            more="Patterns are of names of layers or weights, or of parts of these between slashes. What is coupled to "
            "them stays whole as well.",
        ),
    )
    ratio_for: tuple[tuple[str, float], ...] = field(
        default=(),
        converter=ratios,
        metadata=option(
            "Remove this share of these layers' channels, whatever the budgets say.",
            LAYERS,
            metavar="PATTERN=SHARE",
            many=True,
        ),
    )
    min_keep: float | None = field(
        default=None,
        converter=optional(share),
        metadata=option("Leave at least this share of every group.", LAYERS, metavar="SHARE", default=f"{FLOOR:.0%}"),
    )
    _steering: "Steering | None" = field(
        default=None, converter=steering, metadata={"help": "The same three as one value."}
    )

    @property
    def steering(self) -> "Steering":
        """What is said of single groups, in one value."""
        from onnxprune.selection.steering import Steering

        base = self._steering or Steering()
        least = base.min_keep if self.min_keep is None else self.min_keep
        return replace(base, min_keep=least, keep=(*base.keep, *self.keep), ratios=(*base.ratios, *self.ratio_for))


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Recovering(Config):
    """New weights, without labels."""

    effort: str | None = field(
        default=None,
        metadata=option(
            "How much is done for the accuracy: fast, default or best.",
            RECOVERY,
            choices=tuple(EFFORTS),
            default="default",
            more="fast: fold; default: refit after that, which takes some five times as long; best: match after that, "
            "which takes torch, and minutes.",
        ),
    )
    recovery: str | None = field(
        default=None,
        metadata=option(
            "Give the cut model new weights, by the recovery of this name.",
            RECOVERY,
            "--recover",
            choices=recovery_names,
            default="as --effort says, refit",
            more="bias: matched means and spreads; fold: removed channels written as sums of kept ones; refit: every "
            "layer solved again after that; match: all weights trained after the original's blocks, after that.",
        ),
    )
    memory: int = field(
        default=1 << 28,
        converter=bytes_of_memory,
        metadata=option(
            "Keep this much of the layers' inputs in memory; the rest is computed anew or goes to scratch files.",
            RECOVERY,
            metavar="BYTES",
            default="256MiB",
            rare=True,
        ),
    )

    @property
    def recovered_by(self) -> str:
        """The name of the recovery."""
        return self.recovery or EFFORTS[self.effort or "default"]

    def _check_effort(self) -> None:
        if self.effort is not None and self.recovery is not None:
            raise InputError(
                f"--effort {self.effort} stands for --recover {EFFORTS[self.effort]}; leave one of the two out.",
                "conflicting-options",
            )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Training(Config):
    """What is told of any training."""

    lr: float | None = field(
        default=None,
        converter=optional(number),
        metadata=option(
            "Highest learning rate.", TRAINING, metavar="RATE", default="0.02 with sgd, 0.001 with adamw", rare=True
        ),
    )
    train: str | None = field(
        default=None,
        metadata=option(
            "What is trained.",
            TRAINING,
            choices=("full", "tail", "fc", "norm", "none"),
            default="full",
            rare=True,
            more="Everything (full), the last third of the layers (tail), what lies behind the last convolution (fc), "
            "normalisations and biases (norm), or nothing (none).",
        ),
    )
    augment: tuple[str, ...] = field(
        default=(),
        converter=names,
        metadata=option(
            "Change images at random: crop (shifted), flip (mirrored), or crop,flip.",
            TRAINING,
            metavar="NAMES",
            default="neither",
            rare=True,
        ),
    )
    device: str = field(
        default="auto",
        metadata=option(
            "Train on cpu, cuda, or auto: a GPU if there is one.",
            TRAINING,
            metavar="NAME",
            default="auto",
            rare=True,
        ),
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Pixels(Config):
    """What is done to images."""

    preprocess: str | Preprocess | None = field(
        default=None,
        metadata=option(
            "How pixels are scaled; auto tries every preset.",
            PIXELS,
            choices=("auto", *PRESETS),
            default="auto for labelled images, else unit",
            more="auto takes the preset that the model scores best with.",
        ),
    )
    mean: tuple[float, ...] | None = field(
        default=None,
        converter=optional(numbers),
        metadata=option("Mean by channel, such as .485,.456,.406.", PIXELS, metavar="NUMBERS", rare=True),
    )
    std: tuple[float, ...] | None = field(
        default=None,
        converter=optional(numbers),
        metadata=option("Standard deviation by channel.", PIXELS, metavar="NUMBERS", rare=True),
    )
    scale: float | None = field(
        default=None,
        converter=optional(number),
        metadata=option("Factor of the pixel value before mean and std: 1/255.", PIXELS, metavar="NUMBER", rare=True),
    )
    resize: Size | None = field(
        default=None,
        converter=optional(size),
        metadata=option("Resize images to height and width, or the shorter side to N.", PIXELS, metavar="H,W|N"),
    )
    crop: Size | None = field(
        default=None,
        converter=optional(size),
        metadata=option("Then cut this size from the centre.", PIXELS, metavar="H,W|N"),
    )
    layout: str | None = field(
        default=None,
        metadata=option(
            "Where the model has its channels.",
            PIXELS,
            choices=("auto", "nchw", "nhwc"),
            default="read from the shape of its input",
            rare=True,
        ),
    )
    channel_order: str | None = field(
        default=None,
        metadata=option("Order of colours.", PIXELS, choices=("rgb", "bgr"), default="rgb", rare=True),
    )

    @property
    def pixels(self) -> Preprocess:
        """The treatment of pixels; see `treatment`."""
        return self.treatment()[0]

    @property
    def scaling(self) -> str | None:
        """Where the scaling comes from; see `treatment`."""
        return self.treatment()[1]

    def treatment(self, known: Preprocess | None = None) -> tuple[Preprocess, str | None]:
        """Return the treatment of pixels, and where its scaling comes from: a preset, `auto`, `explicit`, or None.

        Numbers alone are taken as they are; with a preset they replace the preset's; without either the scaling is
        left to be found, unless it is `known`.

        Args:
            known: what a plan was made with; geometry and scaling that no option replaces come from it.

        Raises:
            InputError: numbers together with `auto`, which finds them itself, or values that cannot be applied.
        """
        geometry = given(resize=self.resize, crop=self.crop, layout=self.layout, channel_order=self.channel_order)
        scaling = given(mean=self.mean, std=self.std, scale=self.scale)
        preset = self.preprocess
        if isinstance(preset, Preprocess):
            return replace(preset, **geometry, **scaling), "explicit"
        base = replace(known or Preprocess(), **geometry)
        if preset == "auto" and scaling:
            these = f"--{next(iter(scaling))}"
            raise InputError(
                f"--preprocess auto finds {these} itself; name a preset or leave it out.", "conflicting-options"
            )
        if preset is not None and not scaling:
            return base, preset
        if preset is not None:
            return replace(base.with_preset(preset), **scaling), "explicit"
        if scaling or known is not None:
            return replace(base, **scaling), "explicit"
        return base, None


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Output(Subject):
    """Where the result goes."""

    output: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "The pruned model.",
            OUTPUT,
            "-o --output",
            metavar="FILE",
            default="MODEL.pruned.onnx beside the model",
            more="Of prune and apply - is standard output: all else is said on stderr then, and a plan is written only "
            "where --plan asks for one.",
        ),
    )

    @property
    def written(self) -> Path:
        """Where the pruned model goes."""
        return self.output or self.model.with_name(f"{self.model.stem}.pruned.onnx")


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Quantizing(Output):
    """A copy in 8-bit integers."""

    quantize: str | None = field(
        default=None,
        metadata=option(
            "Write a copy of the result in 8-bit integers too.",
            QUANTIZATION,
            choices=("int8",),
            more="It is quantized with the same samples; what pruning and what quantization did is reported.",
        ),
    )
    quantized_output: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option(
            "The quantized model.",
            QUANTIZATION,
            "--quantized",
            metavar="FILE",
            default="the output with the ending .int8.onnx",
            rare=True,
        ),
    )

    @property
    def quantized_written(self) -> Path | None:
        """Where the quantized model goes, if one is asked for."""
        return None if self.quantize is None else self.quantized_output or beside(self.written, ".int8.onnx")


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Reported(Config):
    """The result as a page, and what refuses it."""

    report: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option("Write the whole result as one HTML page too.", OUTPUT, metavar="FILE.html"),
    )
    markdown: Path | None = field(
        default=None,
        converter=optional(file),
        metadata=option("Write it as Markdown too, for the summary of a CI job.", OUTPUT, metavar="FILE.md", rare=True),
    )
    fail_if: tuple[Condition, ...] = field(
        default=(),
        converter=conditions,
        metadata=option(
            "Write nothing and exit with 1 if this holds, such as 'top1_drop > 1'; may be given several times.",
            BUDGET,
            metavar="CONDITION",
            many=True,
            more=lambda: f"It fails as well where that was not measured. Measures: {measure_words()}.",
            rare=True,
        ),
    )

    @property
    def pages(self) -> dict[str, Path | None]:
        """Where pages go, by what messages call them."""
        return {"the report": self.report, "the summary": self.markdown}


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Proving(Config):
    """What the check of the cut has to show."""

    require_proof: bool = field(
        default=False,
        converter=switch,
        metadata=option(
            "Write nothing where no tensor tells whether the cut is right (exit code 3).",
            RUN,
            more="Without it such a result is written with a warning; `proof` in JSON, plan and metadata is unproven.",
            rare=True,
        ),
    )
    oracle: str | None = field(
        default=None,
        metadata=option(
            "Ask another runtime than onnxruntime too whether the cut and the written model are right.",
            RUN,
            choices=("reference", "openvino"),
            rare=True,
            more="reference: onnx's own implementations, for small networks; openvino: where it is installed. What it "
            "does not agree to is not written (exit code 3).",
        ),
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Libraries(Config):
    """Code that a run loads."""

    custom_ops: tuple[Path, ...] = field(
        default=(),
        converter=libraries,
        metadata=option(
            "A library of custom operators for onnxruntime, whose code runs then.",
            RUN,
            metavar="FILE",
            many=True,
            rare=True,
            more="Channels that reach such an operator stay. May be given several times.",
        ),
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Seeded(Config):
    """All chance."""

    seed: int = field(
        default=0, converter=natural, metadata=option("Seed of all chance.", RUN, metavar="N", default="0", rare=True)
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Threads(Config):
    """Threads."""

    threads: int | None = field(
        default=None,
        converter=optional(few),
        metadata=option("Threads of onnxruntime and torch.", RUN, metavar="N", default="their own choice", rare=True),
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Batches(Config):
    """Samples per call."""

    batch_size: int = field(
        default=32,
        converter=positive,
        metadata=option(
            "Samples per call, where the model leaves the batch open.", RUN, metavar="N", default="32", rare=True
        ),
    )
