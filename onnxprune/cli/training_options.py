"""The options of training, declared once."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from onnxprune.cli.parameters import names, share
from onnxprune.cli.sections import section, stack

_training = section("Training")
_after = section("Training after the recovery (needs torch)")

_SHARED: Mapping[str, dict[str, Any]] = {
    "lr": {
        "type": float,
        "metavar": "RATE",
        "help": "Highest learning rate. Default: 0.02 with sgd, 0.001 with adamw.",
    },
    "train": {
        "type": click.Choice(["full", "tail", "fc", "norm", "none"]),
        "help": "What is trained: everything (full, the default), the last third of the layers (tail), what lies "
        "behind the last convolution (fc), normalisations and biases (norm), or nothing (none).",
    },
    "augment": {
        "type": names,
        "metavar": "NAMES",
        "help": "Change images at random: crop (shifted), flip (mirrored), or both: crop,flip. Default: neither.",
    },
    "device": {
        "default": "auto",
        "show_default": True,
        "metavar": "NAME",
        "help": "cpu, cuda, or auto: a GPU if there is one.",
    },
}


def named_training_option(name: str) -> Callable[[Any], Any]:
    """Return the option of this name, for commands that train after other work."""
    return _after(f"--{name}", **_SHARED[name])


recipe_options = stack(
    _training(
        "--epochs",
        type=click.IntRange(min=1),
        default=10,
        show_default=True,
        metavar="N",
        help="Passes over the training samples.",
    ),
    _training(
        "--batch-size",
        type=click.IntRange(min=1),
        default=128,
        show_default=True,
        metavar="N",
        help="Samples a step, over all processes together.",
    ),
    _training(
        "--optimizer",
        type=click.Choice(["sgd", "adamw"]),
        default="sgd",
        show_default=True,
        help="What takes the steps.",
    ),
    _training("--lr", **_SHARED["lr"]),
    _training("--decay", type=float, default=5e-4, show_default=True, metavar="NUMBER", help="Weight decay."),
    _training(
        "--schedule",
        type=click.Choice(["cosine", "step", "constant"]),
        default="cosine",
        show_default=True,
        help="How the rate falls after the warm-up; step: to a tenth every 30 epochs.",
    ),
    _training(
        "--warmup",
        type=float,
        default=0.25,
        show_default=True,
        metavar="EPOCHS",
        help="Epochs in which the rate grows from 0.",
    ),
    _training("--train", **_SHARED["train"]),
    _training(
        "--bn",
        type=click.Choice(["train", "eval"]),
        default="train",
        show_default=True,
        help="Whether BatchNormalization goes by the batch, and learns its statistics, or keeps to those it has.",
    ),
    _training("--augment", **_SHARED["augment"]),
    _training(
        "--teach",
        type=share,
        default="50%",
        show_default=True,
        metavar="SHARE",
        help="Weight of the teacher's answers; the labels have the rest.",
    ),
    _training(
        "--temperature", type=float, default=4.0, show_default=True, metavar="T", help="Of the teacher's answers."
    ),
    _training("--smoothing", type=share, default="0%", show_default=True, metavar="SHARE", help="Of the labels."),
    _training(
        "--l1",
        type=float,
        default=0.0,
        show_default=True,
        metavar="WEIGHT",
        help="Of the sum of all parameters' magnitudes in the loss (0.0001 in class-aware pruning).",
    ),
    _training(
        "--orthogonal",
        type=float,
        default=0.0,
        show_default=True,
        metavar="WEIGHT",
        help="Of the 3x3 convolutions' distance from orthogonal ones in the loss (0.01 in class-aware pruning).",
    ),
    _training(
        "--clip",
        type=float,
        default=5.0,
        show_default=True,
        metavar="NORM",
        help="Largest norm of the gradient; 0: any.",
    ),
    _training(
        "--precision",
        type=click.Choice(["float32", "bf16"]),
        default="float32",
        show_default=True,
        help="Of the activations; bf16 is fast on newer devices.",
    ),
    _training(
        "--patience",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="Stop after N epochs without a better validation score; 0: never.",
    ),
    _training("--device", **_SHARED["device"]),
)
