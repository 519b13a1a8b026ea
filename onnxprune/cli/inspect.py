"""`onnxprune inspect MODEL`: what can be pruned, what cannot, and why."""

from typing import Any

import click

from onnxprune.cli.options import allow_option, debug_option, json_option, model_argument, verbose_option
from onnxprune.cli.sections import Command, section


@click.command(
    cls=Command,
    examples=(
        "onnxprune inspect model.onnx",
        "onnxprune inspect model.onnx --explain conv1.weight:0",
    ),
    short_help="List a model's channel groups and why some are frozen.",
)
@model_argument
@section("What to show")(
    "--explain",
    metavar="TENSOR:AXIS",
    help="Print the chain of ties that froze this axis, or that couples it to other layers.",
)
@allow_option
@json_option
@verbose_option
@debug_option
def inspect(**flags: Any) -> None:
    """List the channel groups of MODEL: width, coupled layers, share of the MACs, and whether they can be pruned.

    A group is channels that have to be removed together. A frozen one has a reason, and --explain shows how that
    reason reaches an axis, node by node. The MACs of a group are those that depend on its width; a layer between two
    groups counts in both, so they add up to more than 100 %.
    """
    from onnxprune.analysis import inspect as inspecting
    from onnxprune.analysis.explain import explain
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.graph import loaded
    from onnxprune.graph.storage.measures import count_params
    from onnxprune.report.inspection import Inspection, explanation_blocks, explanation_json, inspection_blocks

    model = loaded.load(flags["model"])
    analysis = inspecting.inspect(model, approximate=flags["allow"] == "approximate")
    if flags["explain"] is not None:
        found = explain(analysis, flags["explain"])
        if flags["as_json"]:
            print_json(explanation_json(found))
        else:
            print_blocks(explanation_blocks(found))
        return
    inspection = Inspection(model.path, analysis, count_params(model.proto), model.size, model.notes)
    if flags["as_json"]:
        print_json(inspection.to_json())
    else:
        print_blocks(inspection_blocks(inspection, verbose=flags["verbose"]))
