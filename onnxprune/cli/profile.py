"""`onnxprune profile MODEL`: how long the layers take on a device, for budgets of latency."""

from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import (
    FILE,
    allow_option,
    debug_option,
    json_option,
    model_argument,
    progress_option,
    quiet_option,
    threads_option,
)
from onnxprune.cli.sections import Command, section
from onnxprune.errors import InputError

_output = section("Output")
_run = section("Running")


@click.command(
    cls=Command,
    examples=(
        "onnxprune profile model.onnx -o device.json              time this machine",
        "onnxprune profile model.onnx --pack board.pyz            then, on the device:",
        "python board.pyz -o device.json --threads 1              needs numpy and onnxruntime alone",
        "onnxprune model.onnx --data calib/ --latency 60% --latency-table device.json",
    ),
    short_help="Time a model's layers on this machine, or pack what times them on a device.",
)
@model_argument
@_output("-o", "--output", type=FILE, metavar="FILE", help="The latency table. Default: MODEL.latency.json beside it.")
@_output(
    "--pack",
    type=FILE,
    metavar="FILE.pyz",
    help="Time nothing here, but write one file that does it on a device which has Python, numpy and onnxruntime.",
)
@threads_option
@_run("--provider", metavar="NAME", help="Execution provider of onnxruntime. Default: CPUExecutionProvider.")
@allow_option
@json_option
@quiet_option
@progress_option
@debug_option
def profile(**flags: Any) -> None:
    """Time the layers of MODEL at the widths that matter, and the whole network at some.

    The table is for --latency-table. Take the threads and the provider that the network will run with, and leave the
    machine alone meanwhile: how far timings scatter is said at the end.
    """
    from onnxprune.analysis import inspect as inspecting
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.graph import loaded
    from onnxprune.graph.storage.cache import cache_folder
    from onnxprune.graph.storage.paths import Inputs, check_input, check_outputs
    from onnxprune.latency.device import Device, refuse_provider
    from onnxprune.latency.package import pack
    from onnxprune.latency.profile import profile_to
    from onnxprune.latency.summary import profiled
    from onnxprune.report.profiling import profile_blocks

    model_path: Path = flags["model"]
    check_input(model_path)
    if flags["pack"] is not None and (flags["output"] or flags["threads"] or flags["provider"]):
        raise InputError(
            "--pack times nothing here; give -o, --threads and --provider to the packed file on the device."
        )
    output = flags["output"] or model_path.with_suffix(".latency.json")
    written = {"the latency table": output} if flags["pack"] is None else {"the packed file": flags["pack"]}
    check_outputs(written, Inputs({}, {"the input model": model_path}, cache_folder()))
    model = loaded.load(model_path)
    analysis = inspecting.inspect(model, approximate=flags["allow"] == "approximate")
    if flags["pack"] is not None:
        jobs = pack(model, analysis, flags["pack"])
        click.echo(
            f"{jobs} timings packed into {flags['pack']}; on the device: python {flags['pack'].name} -o device.json"
        )
        return
    device = Device(flags["threads"], **({"provider": flags["provider"]} if flags["provider"] else {}))
    refuse_provider(device)
    with open_listener(flags) as listener:
        table = profile_to(output, model, analysis, device, listener.track)
    found = profiled(table, analysis, output)
    if flags["as_json"]:
        print_json(found.to_json())
    else:
        print_blocks(profile_blocks(found))
