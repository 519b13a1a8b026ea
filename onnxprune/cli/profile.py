"""`onnxprune profile MODEL`: how long the layers take on a device, for budgets of latency."""

import click

from onnxprune.cli.options import Talk, job
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
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.pipeline.profile import profile as work
    from onnxprune.report.profiling import profile_blocks
    from onnxprune.values.results import Packed

    with open_listener(talk) as listener:
        found = work(config, listener)
    if isinstance(found, Packed):
        told = f"{found.timings} timings packed into {found.file}"
        click.echo(f"{told}; on the device: python {found.file.name} -o device.json")
    elif talk.as_json:
        print_json(found.to_json())
    else:
        print_blocks(profile_blocks(found))
