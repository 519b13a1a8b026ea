"""Latency tables: what was timed of a network on a device, as values, and reading and writing them.

In a file it is a JSON object: the `header_of` the network, what was timed (`wholes`, whole networks, and `layers`), and
what `board` adds, `times` and `machine`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.staging import write_bytes
from onnxprune.latency.block import block_found
from onnxprune.latency.jobs import timed_layers
from onnxprune.values.axes import FloatArray
from onnxprune.values.ordinary_file import read_text

FORMAT = 1


@dataclass(frozen=True, eq=False)
class LayerTimes:
    """A layer's times.

    Attributes:
        node: its number in the model.
        name: its title.
        axes: columns of the widths of its weight's two axes; None: a width that does not change.
        widths: of the two axes that were timed, rising.
        times: milliseconds, [widths of the first axis, widths of the second].
    """

    node: int
    name: str
    axes: tuple[int | None, int | None]
    widths: tuple[FloatArray, FloatArray]
    times: FloatArray

    @cached_property
    def least(self) -> FloatArray:
        """The times, no wider layer being faster, [widths, widths]."""
        found = self.times
        for axis in (0, 1):
            found = np.flip(np.minimum.accumulate(np.flip(found, axis), axis), axis)
        return found

    def at(self, widths: FloatArray, block: int, *, measured: bool = False) -> float:
        """Return the milliseconds at the widths of all axes.

        Args:
            widths: of every axis, [axes].
            block: channels that fill one block of the kernels, to which widths count as filled up.
            measured: as it was timed, even where a wider layer is faster.

        A layer without channels lies in a branch that is left out, and takes no time.
        """
        if any(axis is not None and not widths[axis] for axis in self.axes):
            return 0.0
        first, second = (1.0 if axis is None else _filled(float(widths[axis]), block) for axis in self.axes)
        table = self.times if measured else self.least
        rows = [np.interp(second, self.widths[1], row) for row in table]
        return float(np.interp(first, self.widths[0], rows))


def _filled(width: float, block: int) -> float:
    return width if width <= block else block * float(np.ceil(width / block))


@dataclass(frozen=True)
class NetworkTimes:
    """A whole network's latency: how many channels groups kept, milliseconds, and their 10th and 90th percentile."""

    kept: Mapping[str, int]
    median: float
    p10: float
    p90: float


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """What was timed on a device.

    Attributes:
        model: digest of the model.
        machine: what the timings depend on, in words.
        threads: of the runtime; None: its choice.
        block: channels that fill one block of the device's kernels.
        slow: widths below one block that are slower than a wider one.
        layers: their times.
        networks: whole networks' times, the uncut one first.
        noise: median over all timings of (90th - 10th percentile) / median.
    """

    model: str
    machine: Mapping[str, Any]
    threads: int | None
    block: int
    slow: tuple[int, ...]
    layers: tuple[LayerTimes, ...]
    networks: tuple[NetworkTimes, ...]
    noise: float

    @property
    def device(self) -> str:
        """The machine in words."""
        threads = "default threads" if self.threads is None else f"{self.threads} thread{'s' * (self.threads != 1)}"
        return f"{self.machine.get('processor', 'unknown')}, {threads}, onnxruntime {self.machine.get('onnxruntime')}"


def header_of(model: Model, analysis: Analysis) -> dict[str, Any]:
    """Return what a table says of the network that it is of."""
    return {"format": FORMAT, "model": model.digest, "groups": {group.name: group.size for group in analysis.prunable}}


def content_of(
    header: Mapping[str, Any], networks: Sequence[Mapping[str, Any]], layers: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a table before its times: the header, and what the jobs of whole networks and of layers are of."""
    return {**header, "wholes": networks, "layers": layers}


def read_table(path: Path, model: Model, analysis: Analysis) -> LatencyTable:
    """Read a table that `profile` or its archive wrote.

    Raises:
        InputError: it is none, or one of another model.
    """
    try:
        content = json.loads(read_text(path))
        known = (content["format"], content["model"], content["groups"])
    except FileNotFoundError:
        raise InputError(
            f"There is no latency table '{path}'; `onnxprune profile {model.path.name}` makes one.", "missing-file"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"'{path}' is no latency table; `onnxprune profile {model.path.name}` makes one.",
            "unreadable-file",
        ) from None
    own = header_of(model, analysis)
    if known[0] != FORMAT:
        raise InputError(
            f"'{path}' is a latency table of another version; make it again with `onnxprune profile`.",
            "unreadable-file",
        )
    if known[1:] != (own["model"], own["groups"]):
        raise InputError(
            f"'{path}' was made for another model than {model.path.name}, or with another --allow; make one with "
            f"`onnxprune profile {model.path.name}`.",
            "wrong-model",
        )
    try:
        return table_of(content, analysis)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"'{path}' is damaged ({error!r}); make it again with `onnxprune profile`.", "unreadable-file"
        ) from None


def table_of(content: Mapping[str, Any], analysis: Analysis) -> LatencyTable:
    """Return what was timed as a table for this analysis."""
    times = content["times"]
    layers = {layer.node.index: axes for layer, axes in timed_layers(analysis)}
    block, slow = block_found(times)
    return LatencyTable(
        model=content["model"],
        machine=content["machine"],
        threads=content["machine"]["threads"],
        block=block,
        slow=tuple(sorted(slow)),
        layers=tuple(_layer_times(entry, times, layers[entry["node"]]) for entry in content["layers"]),
        networks=network_times(content["wholes"], times),
        noise=float(np.median([(found["p90"] - found["p10"]) / found["median"] for found in times.values()])),
    )


def write_table(path: Path, content: Mapping[str, Any]) -> None:
    """Write what was timed.

    Raises:
        InputError: it cannot be written.
    """
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def network_times(
    entries: Sequence[Mapping[str, Any]], times: Mapping[str, Mapping[str, float]]
) -> tuple[NetworkTimes, ...]:
    """Return the times of whole networks, see `jobs.network_jobs`."""
    found = ((entry["kept"], times[entry["job"]]) for entry in entries)
    return tuple(
        NetworkTimes(kept, took["median"] / 1000, took["p10"] / 1000, took["p90"] / 1000) for kept, took in found
    )


def _layer_times(
    entry: Mapping[str, Any], times: Mapping[str, Mapping[str, float]], axes: tuple[int | None, int | None]
) -> LayerTimes:
    first, second = ([int(width) for width in widths] for widths in entry["widths"])
    found = [[times[f"{entry['prefix']}-{a}-{b}"]["median"] / 1000 for b in second] for a in first]
    widths = (np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    free = tuple(axis if len(known) > 1 else None for axis, known in zip(axes, widths, strict=True))
    return LayerTimes(entry["node"], entry["name"], (free[0], free[1]), widths, np.asarray(found))
