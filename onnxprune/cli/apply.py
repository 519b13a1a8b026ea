"""`onnxprune apply MODEL PLAN`: replay a plan."""

from typing import Any

import click

from onnxprune.cli.options import (
    FILE,
    data_options,
    model_argument,
    output_option,
    preprocessing_options,
    quantize_options,
    run_options,
    talk_options,
)
from onnxprune.cli.sections import Command, section
from onnxprune.cli.shared import shared_settings

_output = section("Output")


@click.command(
    cls=Command,
    examples=(
        "onnxprune model.onnx --data calib/ --macs 50% --dry-run",
        "onnxprune apply model.onnx model.pruned.plan.json -o small.onnx",
    ),
    short_help="Cut a model by a plan that was made before.",
)
@model_argument
@click.argument("plan", type=FILE, metavar="PLAN")
@data_options
@quantize_options
@preprocessing_options
@output_option
@_output("--report", type=FILE, metavar="FILE.html", help="Write the whole result as one HTML page too.")
@run_options
@talk_options
def apply(**flags: Any) -> None:
    """Cut MODEL by PLAN, which has to be made for this very model, and check the result as ever.

    The same plan with the same data gives the same bytes as the run that it comes from. Without data the model is cut
    and checked, but the plan's recovery is left out. Accuracy is measured on the part of the data that the plan's
    scores did not see, with the plan's preprocessing unless flags say otherwise.
    """
    from onnxprune.api import load_plan
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.outcome import deliver, report_of
    from onnxprune.graph.storage.paths import check_input, check_outputs
    from onnxprune.pipeline.apply import apply_plan
    from onnxprune.pipeline.opening import by_plan
    from onnxprune.values.preprocess import Preprocess

    check_input(flags["model"])
    plan = load_plan(flags["plan"])
    pixels = None if flags["data"] is None else plan.data.get("preprocess")
    settings = shared_settings(
        flags,
        None if pixels is None else Preprocess.from_json(pixels),
        test=flags["test"],
        seed=plan.seed,
        batch_size=flags["batch_size"],
    )
    outputs = {**by_plan(settings, plan).outputs, "the plan": None, "the report": flags["report"]}
    check_outputs(outputs, settings.inputs.and_files({"the plan": flags["plan"]}))
    with open_listener(flags) as listener:
        result = apply_plan(settings, plan, listener, report_of(flags))
    deliver(result, flags)
