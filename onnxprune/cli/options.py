"""The options that commands share, declared once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

from onnxprune.cli.parameters import block, names, number, numbers, share, size
from onnxprune.cli.sections import section, stack
from onnxprune.values.preprocess import PRESETS

FILE = click.Path(path_type=Path)

Decorator: TypeAlias = Callable[[Any], Any]

_data = section("Data")
_pixels = section("Preprocessing of images")
_quantization = section("Quantization (after all else)")
_run = section("Running")
_output = section("Output")
_talk = section("Messages")

model_argument = click.argument("model", type=FILE, metavar="MODEL")

labels_option = _data(
    "--labels",
    type=FILE,
    metavar="FILE",
    help="Class names, one a line, in the order of the model's outputs. Default: the sorted folder names.",
)


def holdout_option(default: str, what: str) -> Decorator:
    """Return the option that keeps a share of the data for something else."""
    return _data("--holdout", type=share, default=default, metavar="SHARE", show_default=True, help=what)


def classes_option(heading: Callable[..., Decorator], what: str) -> Decorator:
    """Return the option that names the classes that matter."""
    return heading("--classes", type=names, metavar="NAMES", help=f"Names (or numbers) of the classes {what}")


def round_option(heading: Callable[..., Decorator]) -> Decorator:
    """Return the option that rounds widths."""
    return heading(
        "--round-to",
        type=block,
        default="auto",
        metavar="N|auto",
        show_default=True,
        help="Round widths to multiples of N, which kernels are fast at; 1 switches rounding off. auto measures what "
        "this machine's kernels are fast at, once.",
    )


def policy_option(heading: Callable[..., Decorator]) -> Decorator:
    """Return the option that names how a budget is shared out."""
    return heading(
        "--policy",
        metavar="NAME",
        help="How a budget is shared out over the layers: uniform (the same share of all), global (in one ranking), "
        "threshold (the method's own, or a higher one), greedy (from the floors up, by gain per cost), loss (from "
        "the full widths down, by what the next layers lose) or sensitivity (the same by the measured change of the "
        "outputs). Default: as the method says, mostly loss.",
    )


output_option = _output(
    "-o", "--output", type=FILE, metavar="FILE", help="The pruned model. Default: MODEL.pruned.onnx beside the model."
)
seed_option = _output(
    "--seed", type=click.IntRange(min=0), default=0, metavar="N", show_default=True, help="Seed of all chance."
)

data_options = stack(
    _data(
        "--data",
        type=FILE,
        metavar="PATH",
        help="Sample data: a folder with one sub-folder per class, a folder of images, or an .npz with x and y. "
        "Not needed where the method reads the model alone.",
    ),
    _data(
        "--test",
        type=FILE,
        metavar="PATH",
        help="Measure accuracy on this data, which nothing is chosen by, instead of a held-out part of --data.",
    ),
    labels_option,
    holdout_option("20%", "Share of --data that scores never see and accuracy is measured on."),
    _data(
        "--no-accuracy-check",
        is_flag=True,
        help="Go on even if the original model is near chance; go by the change of the outputs instead of top-1.",
    ),
)

preprocessing_options = stack(
    _pixels(
        "--preprocess",
        type=click.Choice(["auto", *PRESETS]),
        help="How pixels are scaled. auto tries every preset and takes the one that the model scores best with. "
        "Default: auto for labelled images, else unit.",
    ),
    _pixels("--mean", type=numbers, metavar="NUMBERS", help="Mean by channel, such as .485,.456,.406."),
    _pixels("--std", type=numbers, metavar="NUMBERS", help="Standard deviation by channel."),
    _pixels("--scale", type=number, metavar="NUMBER", help="Factor of the pixel value before mean and std: 1/255."),
    _pixels(
        "--resize", type=size, metavar="H,W|N", help="Resize images to height and width, or the shorter side to N."
    ),
    _pixels("--crop", type=size, metavar="H,W|N", help="Then cut this size from the centre."),
    _pixels(
        "--layout",
        type=click.Choice(["auto", "nchw", "nhwc"]),
        help="Where the model has its channels. Default: read from the shape of its input.",
    ),
    _pixels("--channel-order", type=click.Choice(["rgb", "bgr"]), help="Order of colours. Default: rgb."),
)

quantize_options = stack(
    _quantization(
        "--quantize",
        type=click.Choice(["int8"]),
        help="Write a copy of the result in 8-bit integers too, quantized with the same samples, and report what "
        "pruning and what quantization did.",
    ),
    _quantization(
        "--quantized",
        type=FILE,
        metavar="FILE",
        help="The quantized model. Default: the output with the ending .int8.onnx.",
    ),
)

threads_option = _run(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads of onnxruntime and torch. Default: their own choice.",
)

run_options = stack(
    threads_option,
    _run(
        "--batch-size",
        type=click.IntRange(min=1),
        default=32,
        metavar="N",
        show_default=True,
        help="Samples per call, where the model leaves the batch open.",
    ),
)

json_option = _talk("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
verbose_option = _talk("-v", "--verbose", is_flag=True, help="Say more: every group, class and reason.")
debug_option = _talk("--debug", is_flag=True, help="Show the traceback where something fails.")
quiet_option = _talk("-q", "--quiet", is_flag=True, help="No messages or progress, only the result and errors.")

progress_option = _talk(
    "--progress",
    type=click.Choice(["text", "json", "none"]),
    default="text",
    show_default=True,
    help="How messages and progress are shown on stderr; json: one JSON object a line, for programs.",
)

allow_option = click.option(
    "--allow",
    type=click.Choice(["exact", "approximate"]),
    default="exact",
    show_default=True,
    help="Cut exact groups only, or also those that a normalisation or softmax runs over (approximate).",
)

talk_options = stack(json_option, verbose_option, quiet_option, progress_option, debug_option)
