"""`onnxprune profile MODEL`: how long the layers take on a device, for budgets of latency."""

import click

from onnxprune.cli.options import Talk, job
from onnxprune.pipeline.config.base import given
from onnxprune.pipeline.config.jobs import ProfileConfig


@job(
    ProfileConfig,
    examples=(
        "onnxprune profile model.onnx -o device.json              time this machine",
        "onnxprune profile model.onnx --pack board.pyz            then, on the device:",
        "python board.pyz -o device.json --threads 1              needs numpy and onnxruntime alone",
        "onnxprune model.onnx --data calib/ --latency 60% --latency-table device.json",
    ),
    without=("verbose",),
)
def profile(config: ProfileConfig, talk: Talk) -> None:
    """Time the layers of MODEL at the widths that matter, and the whole network at some.

    The table is for --latency-table. Take the threads and the provider that the network will run with, and leave the
    machine alone meanwhile: how far timings scatter is said at the end.
    """
    from onnxprune.analysis.inspect import inspect
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.graph.loaded import load
    from onnxprune.graph.storage.paths import check_outputs
    from onnxprune.latency.device import Device, refuse_provider
    from onnxprune.latency.package import pack
    from onnxprune.latency.profile import profile_to
    from onnxprune.latency.summary import profiled
    from onnxprune.pipeline.events import Working
    from onnxprune.report.profiling import profile_blocks

    written = {"the latency table": config.written} if config.pack is None else {"the packed file": config.pack}
    check_outputs(written, config.read({}))
    model = load(config.model, config.input_shape)
    analysis = inspect(model, allow=config.allow)
    if config.pack is not None:
        jobs = pack(model, analysis, config.pack)
        told = f"{jobs} timings packed into {config.pack}"
        click.echo(f"{told}; on the device: python {config.pack.name} -o device.json")
        return
    device = Device(config.threads, **given(provider=config.provider))
    refuse_provider(device)
    with open_listener(talk) as listener:
        listener.hear(Working("Timing the network"))
        table = profile_to(config.written, model, analysis, device, listener.track)
    found = profiled(table, analysis, config.written)
    if talk.as_json:
        print_json(found.to_json())
    else:
        print_blocks(profile_blocks(found))
