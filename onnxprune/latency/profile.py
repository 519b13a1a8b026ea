"""Profiling a network on this machine: all of its jobs are timed, once, and what was found is kept."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnxprune.analysis.analysis import Analysis
from onnxprune.graph.loaded import Model
from onnxprune.latency.block import block_jobs
from onnxprune.latency.cache import keep_profile, kept_profile
from onnxprune.latency.device import Device
from onnxprune.latency.jobs import layer_jobs, network_jobs, refuse_untimed, run_jobs, run_together
from onnxprune.latency.table import (
    LatencyTable,
    NetworkTimes,
    content_of,
    header_of,
    network_times,
    table_of,
    write_table,
)
from onnxprune.values.progress import Track, silent


def profile_here(
    model: Model,
    analysis: Analysis,
    device: Device,
    track: Track = silent,
    *,
    anew: bool = False,
    accept: Callable[[Sequence[NetworkTimes]], None] | None = None,
) -> dict[str, Any]:
    """Time a network's layers on this machine, or take what was found before, unless it is to be done anew.

    Args:
        model: that is timed.
        analysis: of it.
        device: how.
        track: receives progress.
        anew: whether to leave alone what was found before.
        accept: hears what the whole network takes at several widths, the uncut one first, before its layers are timed,
            and refuses that by raising.

    Returns:
        What a table's file has, see `table.table_of`.

    Raises:
        InputError: the network cannot be run on noise.
    """
    header = header_of(model, analysis)
    found = None if anew else kept_profile(header, device)
    if found is not None:
        if accept is not None:
            accept(network_times(found["wholes"], found["times"]))
        return found
    refuse_untimed(analysis)
    with TemporaryDirectory(prefix="onnxprune-") as name:
        folder = Path(name)
        whole, networks = network_jobs(model, analysis, folder)
        times = run_together(folder, whole, device)
        if accept is not None:
            accept(network_times(networks, times))
        single, layers = layer_jobs(analysis, folder)
        times.update(run_jobs(folder, [*block_jobs(folder), *single], device, track, "Timing layers"))
    found = {**content_of(header, networks, layers), "machine": device.describe(), "times": times}
    keep_profile(header, device, found)
    return found


def profile_to(path: Path, model: Model, analysis: Analysis, device: Device, track: Track = silent) -> LatencyTable:
    """Time a network's layers on this machine, whatever was found before, and write the table.

    Raises:
        InputError: the network cannot be run on noise, or the file cannot be written.
    """
    found = profile_here(model, analysis, device, track, anew=True)
    table = table_of(found, analysis)
    write_table(path, found)
    return table
