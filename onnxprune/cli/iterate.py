"""`onnxprune iterate MODEL --data PATH`: prune and train in turns."""

from collections.abc import Mapping
from typing import Any

import click

from onnxprune.cli.finetune import read_recipe
from onnxprune.cli.options import (
    FILE,
    allow_option,
    classes_option,
    holdout_option,
    labels_option,
    model_argument,
    output_option,
    policy_option,
    preprocessing_options,
    round_option,
    seed_option,
    talk_options,
    threads_option,
)
from onnxprune.cli.parameters import multiple, points, share
from onnxprune.cli.prune import input_paths, method_options, read_options, recovery_option
from onnxprune.cli.sections import Command, section
from onnxprune.cli.shared import shared_settings
from onnxprune.cli.steering import read_steering, steering_options
from onnxprune.cli.training_options import recipe_options
from onnxprune.errors import InputError

_data = section("Data")
_steps = section("Iterations")
_output = section("Output")


@click.command(
    cls=Command,
    examples=(
        "onnxprune iterate model.onnx --data train/ --method catro --macs 40% --iterations 5 --epochs 2",
        "onnxprune iterate model.onnx --data train/ --method class-aware --l1 0.0001 --orthogonal 0.01",
    ),
    short_help="Prune and train in turns (needs torch).",
)
@model_argument
@_data("--data", type=FILE, required=True, metavar="PATH", help="Labelled data to score and to train on.")
@holdout_option("20%", "Share of --data that is kept for validation.")
@_data("--test", type=FILE, metavar="PATH", help="Measure the result on this data, which nothing is chosen by.")
@labels_option
@classes_option(_data, "that matter.")
@_steps(
    "--macs",
    type=share,
    metavar="SHARE",
    help="Leave at most this share of the multiply-adds, in equal ratios. Default: what the method's threshold says.",
)
@_steps(
    "--alpha", type=multiple, metavar="NUMBER", help="Remove what scores below this multiple of the method's threshold."
)
@_steps(
    "--iterations",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="N",
    help="In how many --macs is reached; by a threshold as many are done as it takes.",
)
@_steps(
    "--floor",
    type=points,
    default="2",
    show_default=True,
    metavar="POINTS",
    help="Undo an iteration, and stop, where top-1 on the validation data is further below the original's.",
)
@policy_option(_steps)
@round_option(_steps)
@allow_option
@steering_options
@method_options
@recovery_option
@recipe_options
@preprocessing_options
@output_option
@_output(
    "--work", type=FILE, metavar="FOLDER", help="State and models. Default: the output with the ending .iterations."
)
@_output("--resume", is_flag=True, help="Go on from the last finished iteration there.")
@seed_option
@threads_option
@talk_options
def iterate(**flags: Any) -> None:
    """Prune in small steps with training in between: score, remove, recover, train, and check what was lost.

    Each iteration begins with the result of the one before, which stays in the work folder with its plan. An iteration
    that falls under the floor is undone, and the last one that stands is written. Exit codes are those of `prune`.
    """
    from onnxprune.cli.console import open_voice
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.cli.training import open_watch
    from onnxprune.pipeline.iterate import iterate as work
    from onnxprune.report.iterating import iterated_blocks

    with open_voice(flags) as voice, open_watch(flags, flags["epochs"]) as watch:
        job = read_job(flags, watch)
        try:
            found = work(job, voice.meter, voice.tell)
        except KeyboardInterrupt:
            if not job.work.exists():
                raise
            told = f"interrupted; the iterations that were finished are in {job.work}, go on with --resume"
            raise KeyboardInterrupt(told) from None
    if flags["as_json"]:
        print_json(found.to_json())
    else:
        print_blocks(iterated_blocks(found, verbose=flags["verbose"]))


def read_job(flags: Mapping[str, Any], watch: Any) -> Any:
    """Return the `IterateSettings` of the flags.

    Raises:
        InputError: flags that contradict each other.
    """
    from onnxprune.graph.storage.paths import check_input, check_outputs
    from onnxprune.pipeline.iterate import IterateSettings
    from onnxprune.selection.budget import Budget
    from onnxprune.selection.goal import Goal

    check_input(flags["model"])
    if flags["scores"] is not None:
        raise InputError("Every iteration scores anew, so --scores has no say here; leave it out.")
    settings = shared_settings(
        flags,
        method=flags["method"],
        options=read_options(flags),
        goal=Goal(
            Budget(None, flags["macs"], flags["alpha"]), flags["round_to"], flags["policy"], read_steering(flags)
        ),
        recovery=flags["recover"],
        recipe=read_recipe(flags),
        device=flags["device"],
        watch=watch,
        approximate=flags["allow"] == "approximate",
    )
    check_outputs({"the model": settings.written}, input_paths(flags))
    return IterateSettings(
        settings,
        iterations=flags["iterations"],
        floor=flags["floor"],
        measured=flags["test"],
        folder=flags["work"],
        resume=flags["resume"],
    )
