"""How many channels fill one block of a machine's kernels, and which narrower widths are not worth choosing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from onnxprune.graph.single_layer import KERNELS, probe
from onnxprune.latency.board import CPU
from onnxprune.latency.cache import keep_block, kept_block
from onnxprune.latency.device import Device
from onnxprune.latency.jobs import NARROW, kernel_job, run_jobs
from onnxprune.runtime.layout import layout_block
from onnxprune.values.progress import Track, silent

BLOCK_JOBS = ("outputs", "inputs")

PROBE_OTHER, PROBE_SIZE = 64, 28
"""Channels on the other side of the convolution that the block is found with, and height and width of its images."""

TURNS = 3
"""How often these are timed, one after the other, so that a busy moment of the machine does not decide."""

SLOWER = 1.03
"""Times as much as this count as slower, and not as noise."""

PROBED = (13, 14, 16, 21, 22, 24, 30, 32, 37, 38, 40, 45, 46, 48, 50, 52, 61, 62, 64)
"""Widths that tell how many channels fill one block: some odd ones, and those that these may be filled up to."""

BLOCKS = (1, 2, 4, 8, 16, 32)

REORDERED = 4
"""Channels that are laid out together where an input is brought into blocks; other narrow widths are filled up."""

FREE = 1.05
"""Times as much, in the mean, that filling up to a block may cost."""


def block_of(sweeps: Sequence[Mapping[int, float]]) -> tuple[int, frozenset[int]]:
    """Return how many channels fill one block of the kernels, and which narrower widths are not worth choosing.

    The block is the largest that layers can be filled up to without being slower, in the mean over what was timed.

    Args:
        sweeps: layers' times by width, at `PROBED` and `NARROW`.
    """

    def filled_up(block: int) -> float:
        ratios = [
            sweep[block * -(-width // block)] / time
            for sweep in sweeps
            for width, time in sweep.items()
            if width in PROBED and width % 2 and block * -(-width // block) in sweep
        ]
        return float(np.mean(np.maximum(ratios, 1.0)))  # a width that is slow by itself must not pay for others

    block = max(block for block in BLOCKS if block == 1 or filled_up(block) <= FREE)
    tried = [width for width in NARROW if width < block and block % 4 == 0 and width % (block // 4) == 0]
    worth = {
        width
        for width in tried
        if all(
            sweep[width] <= SLOWER * min(sweep[wider] for wider in (*tried, block) if wider > width) for sweep in sweeps
        )
    }
    return block, frozenset(range(1, block)) - worth


def block_jobs(folder: Path) -> list[dict[str, Any]]:
    """Write the models that tell how many channels fill one block, and return the jobs: all of them, `TURNS` times."""
    jobs = []
    for kind in BLOCK_JOBS:
        for width in (*NARROW, *PROBED):
            found = probe(width, PROBE_OTHER, PROBE_SIZE, 17, inputs=kind == "inputs")
            jobs.append(kernel_job(folder, f"block-{kind}-{width}", *found, KERNELS["Conv"]))
    return [{**job, "id": f"{job['id']}-{turn}"} for turn in range(TURNS) for job in jobs]


def block_found(times: Mapping[str, Mapping[str, float]]) -> tuple[int, frozenset[int]]:
    """Return what `block_of` finds in the times of `block_jobs`, the least disturbed of each."""

    def least(kind: str, width: int) -> float:
        return min(times[f"block-{kind}-{width}-{turn}"]["p10"] for turn in range(TURNS))

    return block_of([{width: least(kind, width) for width in (*NARROW, *PROBED)} for kind in BLOCK_JOBS])


def width_block(device: Device, track: Track = silent) -> tuple[int, frozenset[int]]:
    """Return how many channels fill one block of this machine's kernels, and narrower widths that are not worth it.

    The CPU kernels of x86 show their block. Of others it is measured, once, and kept.
    """
    found = kept_block(device)
    if found is not None:
        return found
    block = layout_block() if device.provider == CPU else None
    if block is not None:
        return block, frozenset(width for width in range(1, block) if width % REORDERED)
    with TemporaryDirectory(prefix="onnxprune-") as name:
        folder = Path(name)
        found = block_found(run_jobs(folder, block_jobs(folder), device, track, "Timing kernels"))
    keep_block(device, *found)
    return found
