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
    from onnxprune.cli.console import open_voice
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.graph import loaded
    from onnxprune.latency.profile import Device, pack, profile_to, refuse_provider
    from onnxprune.pipeline import opening
    from onnxprune.report.profiling import profile_blocks, profile_json

    model = loaded.load(config.model)
    analysis = opening.inspect(model, approximate=config.approximate)
    if config.pack is not None:
        jobs = pack(model, analysis, config.pack)
        told = f"{jobs} timings packed into {config.pack}"
        click.echo(f"{told}; on the device: python {config.pack.name} -o device.json")
        return
    device = Device(config.threads, **given(provider=config.provider))
    refuse_provider(device)
    with open_voice(talk.flags()) as voice:
        table = profile_to(config.written, model, analysis, device, voice.meter)
    if talk.as_json:
        print_json(profile_json(table, analysis, config.written))
    else:
        print_blocks(profile_blocks(table, analysis, config.written))
