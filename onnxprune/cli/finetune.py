"""`onnxprune finetune MODEL --data PATH`: train the weights of a model in place."""

from collections.abc import Mapping
from typing import Any

import click

from onnxprune.cli.options import (
    FILE,
    classes_option,
    holdout_option,
    labels_option,
    model_argument,
    preprocessing_options,
    seed_option,
    talk_options,
    threads_option,
)
from onnxprune.cli.sections import Command, section
from onnxprune.cli.shared import shared_settings
from onnxprune.cli.training_options import recipe_options
from onnxprune.finetune.training.recipe import Recipe

_data = section("Data")
_output = section("Output")


@click.command(
    cls=Command,
    examples=(
        "onnxprune finetune small.onnx --data train/ --teacher original.onnx --epochs 5",
        "onnxprune finetune small.onnx --data unlabelled/ --teacher original.onnx",
        "torchrun --nproc-per-node 2 -m onnxprune finetune small.onnx --data train/",
    ),
    short_help="Train a model's weights where they are (needs torch).",
)
@model_argument
@_data(
    "--data",
    type=FILE,
    required=True,
    metavar="PATH",
    help="Training data: a folder with one sub-folder per class, a folder of images, or an .npz with x and y.",
)
@_data("--teacher", type=FILE, metavar="MODEL", help="Learn this model's answers too; without labels, these alone.")
@_data("--val", type=FILE, metavar="PATH", help="Choose the best epoch on this data instead of a part of --data.")
@holdout_option("10%", "Share of --data that the best epoch is chosen on.")
@_data("--test", type=FILE, metavar="PATH", help="Measure on this data, which training never sees.")
@labels_option
@classes_option(_data, "to train and measure on.")
@_data("--no-accuracy-check", is_flag=True, help="Go on even if the model, or its teacher, is near chance.")
@recipe_options
@preprocessing_options
@_output(
    "-o", "--output", type=FILE, metavar="FILE", help="The trained model. Default: MODEL.finetuned.onnx beside it."
)
@_output("--checkpoint", type=FILE, metavar="FILE", help="The state. Default: the output with the ending .checkpoint.")
@_output("--resume", is_flag=True, help="Go on from the checkpoint.")
@_output("--tensorboard", type=FILE, metavar="FOLDER", help="Write logs for TensorBoard to this folder too.")
@seed_option
@threads_option
@talk_options
def finetune(**flags: Any) -> None:
    """Train the weights of an ONNX model, by labels, by the answers of a teacher, or by both.

    The graph stays as it is: names, nodes and what is not trained are untouched. The weights of the best epoch on the
    validation data are written, after onnxruntime has been seen to compute the same with them as torch.

    Several processes: start it with torch's launcher, torchrun. Exit codes are those of `prune`.
    """
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.pipeline.finetune import finetune as work
    from onnxprune.report.finetuning import finetuned_blocks

    job = read_job(flags)
    with open_listener(flags) as listener:
        try:
            found = work(job, listener)
        except KeyboardInterrupt:
            if not job.has_checkpoint:
                raise
            told = f"interrupted; the state after the last epoch is in {job.checkpoint_written}, go on with --resume"
            raise KeyboardInterrupt(told) from None
    if found.output is None:
        return  # not the first of several processes
    if flags["as_json"]:
        print_json(found.to_json())
    else:
        print_blocks(finetuned_blocks(found, verbose=flags["verbose"]))


def read_recipe(flags: Mapping[str, Any]) -> Recipe:
    """Return how to train, from the flags.

    Raises:
        InputError: values that make no sense.
    """
    return Recipe(
        epochs=flags["epochs"],
        batch=flags["batch_size"],
        optimizer=flags["optimizer"],
        rate=flags["lr"],
        decay=flags["decay"],
        schedule=flags["schedule"],
        warmup=flags["warmup"],
        teach=flags["teach"],
        temperature=flags["temperature"],
        smoothing=flags["smoothing"],
        augment=tuple(flags["augment"] or ()),
        part=flags["train"] or "full",
        statistics=flags["bn"],
        precision=flags["precision"],
        clip=flags["clip"],
        l1=flags["l1"],
        orthogonal=flags["orthogonal"],
        patience=flags["patience"],
        seed=flags["seed"],
    )


def read_job(flags: Mapping[str, Any]) -> Any:
    """Return the `FinetuneSettings` of the flags.

    Raises:
        InputError: flags that contradict each other.
    """
    from onnxprune.graph.storage.paths import check_folder, check_input
    from onnxprune.pipeline.finetune import FinetuneSettings

    check_input(flags["model"])
    job = FinetuneSettings(
        shared_settings(flags, test=flags["val"]),
        read_recipe(flags),
        teacher=flags["teacher"],
        measured=flags["test"],
        device=flags["device"],
        checkpoint=flags["checkpoint"],
        resume=flags["resume"],
    )
    if flags["tensorboard"] is not None:
        check_folder("the logs' folder", flags["tensorboard"], job.inputs)
    return job
