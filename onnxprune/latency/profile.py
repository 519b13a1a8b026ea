"""Latency tables: which layers are timed at which widths, by whom, and reading what they took.

The timing itself is `runtime.board`, which travels to devices that have no onnxprune. Here the models that it times are
made, and what it found is read: a JSON object as `contents` makes it, with its `times` and `machine`.
"""

import json
import math
import zipapp
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from onnxprune._version import __version__
from onnxprune.analysis.analysis import Analysis
from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model
from onnxprune.graph.single_layer import DATA, KERNELS, SingleLayer, layer_model, probe, single_layer
from onnxprune.graph.storage.cache import read_cache, write_cache
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.staging import Staging, explained, write_bytes
from onnxprune.latency import board
from onnxprune.latency.model import PROBED, SMALL, LatencyTable, LayerTimes, Whole, block_of
from onnxprune.surgery.cut import cut
from onnxprune.values.axes import Axis, BoolArray, Ref
from onnxprune.values.progress import Track, silent

FORMAT = 1

PITCH = 16
"""Layers are timed at multiples of this, a block of most kernels or several of them."""

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Of a width that are timed."""

PROBE_OTHER, PROBE_SIZE = 64, 28
"""Channels on the other side of the convolution that the block is found with, and height and width of its images."""

BLOCK_JOBS = ("outputs", "inputs")

TURNS = 3
"""How often these are timed, one after the other, so that a busy moment of the machine does not decide."""


@dataclass(frozen=True)
class Device:
    """What is timed on: threads within a kernel (None: the runtime's choice) and execution provider."""

    threads: int | None = None
    provider: str = board.CPU

    def describe(self) -> dict[str, Any]:
        """Return what timings depend on, as JSON types."""
        return board.machine(self.threads, self.provider)


def knots(size: int, least: int) -> tuple[int, ...]:
    """Return the widths between `least` and `size` that are timed, rising."""
    small = [width for width in (*SMALL, PITCH, PITCH + PITCH // 2) if least <= width < size]
    found = {min(size, PITCH * math.ceil(size * share / PITCH)) for share in SHARES}
    return tuple(sorted({*found, *([least] if least < PITCH else small[:1]), *(small if size <= 2 * PITCH else ())}))


def block_jobs(folder: Path) -> list[dict[str, Any]]:
    """Write the models that tell how many channels fill one block, and return the jobs: all of them, `TURNS` times."""
    jobs = []
    for kind in BLOCK_JOBS:
        for width in (*SMALL, *PROBED):
            found = probe(width, PROBE_OTHER, PROBE_SIZE, 17, inputs=kind == "inputs")
            jobs.append(_job(folder, f"block-{kind}-{width}", *found, KERNELS["Conv"]))
    return [{**job, "id": f"{job['id']}-{turn}"} for turn in range(TURNS) for job in jobs]


def block_found(times: Mapping[str, Mapping[str, float]]) -> tuple[int, frozenset[int]]:
    """Return what `block_of` finds in the times of `block_jobs`, the least disturbed of each."""

    def least(kind: str, width: int) -> float:
        return min(times[f"block-{kind}-{width}-{turn}"]["p10"] for turn in range(TURNS))

    return block_of([{width: least(kind, width) for width in (*SMALL, *PROBED)} for kind in BLOCK_JOBS])


def width_block(device: Device, track: Track = silent) -> tuple[int, frozenset[int]]:
    """Return how many channels fill one block of this machine's kernels, and narrower widths that are not worth it.

    Measured once and kept.
    """
    key = block_key(device)
    found = read_cache("block", key)
    if found is None:
        with TemporaryDirectory(prefix="onnxprune-") as folder:
            times = _timed(Path(folder), block_jobs(Path(folder)), device, track, "Timing kernels")
        block, slow = block_found(times)
        found = {"block": block, "slow": sorted(slow)}
        write_cache("block", key, found)
    return int(found["block"]), frozenset(found["slow"])


def block_key(device: Device) -> dict[str, Any]:
    """Return what the width block is kept by."""
    return {"version": __version__, **device.describe()}


def whole_jobs(model: Model, analysis: Analysis, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the network as it is and cut to some widths; return the jobs, and by job what groups kept."""
    jobs, wholes = [], []
    feeds = {spec.name: _shape(analysis, spec.name) for spec in model.graph.input_specs}
    for number, kept in enumerate(_kept(analysis)):
        name = f"whole-{number}"
        masks = {group.name: np.arange(group.size) < kept[group.name] for group in analysis.prunable if kept}
        file = write_cut(model, analysis, masks, folder / name).relative_to(folder).as_posix()
        jobs.append({"id": name, "file": file, "feeds": feeds, "ops": []})
        wholes.append({"job": name, "kept": kept})
    return jobs, wholes


def write_cut(model: Model, analysis: Analysis, keep: Mapping[str, BoolArray], folder: Path) -> Path:
    """Write the network as a cut leaves it (no masks: as it is) into a new folder, and return the file.

    Raises:
        InputError: it cannot be written.
    """
    proto, weights = model.proto, model.weights
    if keep:
        found = cut(analysis, keep)
        proto, weights = found.model, found.weights
    path = folder / "model.onnx"
    with explained(path):
        folder.mkdir()
        write_model(proto, weights, path)
    return path


def _kept(analysis: Analysis) -> Iterator[dict[str, int]]:
    """Yield widths of whole networks: all of them, the least, and some shares in between."""
    yield {}
    for share in SHARES[:-1]:
        yield {
            group.name: min(group.size, max(1, PITCH * math.ceil(group.size * share / PITCH)))
            if group.size * share >= PITCH
            else max(1, math.ceil(group.size * share))
            for group in analysis.prunable
        }


def layer_jobs(analysis: Analysis, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the layers that can be timed alone, at the widths that matter; return the jobs and what they are of."""
    jobs: dict[str, dict[str, Any]] = {}
    layers: list[dict[str, Any]] = []
    known: dict[Any, int] = {}
    for layer, axes in timed_layers(analysis):
        free = tuple(axis is not None and bool(analysis.costs.multiplicity[axis].any()) for axis in axes)
        widths = [
            knots(size, max(1, math.ceil(SHARES[0] * size))) if is_free else (size,)
            for size, is_free in zip(layer.weight[:2], free, strict=True)
        ]
        prefix = f"layer-{known.setdefault((layer.key, free), len(known))}"
        for first in widths[0]:
            for second in widths[1]:
                name = f"{prefix}-{first}-{second}"
                if name not in jobs:
                    found = layer_model(layer, (first, second, *layer.weight[2:]))
                    jobs[name] = _job(folder, name, *found, KERNELS[layer.node.op])
        layers.append(
            {
                "node": layer.node.index,
                "name": layer.node.title,
                "widths": [list(each) for each in widths],
                "prefix": prefix,
            }
        )
    return list(jobs.values()), layers


def timed_layers(analysis: Analysis) -> Iterator[tuple[SingleLayer, tuple[int | None, int | None]]]:
    """Yield the layers that are timed alone, with the columns of the widths of their weights' first two axes."""
    graph = analysis.graph
    for node in graph.nodes:
        layer = None if graph.is_folded(node) else single_layer(graph, node)
        if layer is not None:
            ref = Ref(node.inputs[1], node.index, 1)
            numbers = analysis.costs.numbers
            yield layer, (numbers.get(Axis(ref, 0)), numbers.get(Axis(ref, 1)))


def profile_here(
    model: Model,
    analysis: Analysis,
    device: Device,
    track: Track = silent,
    *,
    anew: bool = False,
    accept: Callable[[Sequence[Whole]], None] | None = None,
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

    Raises:
        InputError: the network cannot be run on noise.
    """
    key = {"version": __version__, **_header(model, analysis), **device.describe()}
    found = None if anew else read_cache("latency", key)
    if found is not None:
        if accept is not None:
            accept(_wholes(found["wholes"], found["times"]))
        return dict(found)
    refuse_untimed(analysis)
    with TemporaryDirectory(prefix="onnxprune-") as name:
        folder = Path(name)
        whole, wholes = whole_jobs(model, analysis, folder)
        times = board.run(lambda file: str(folder / file), unheard, whole, device.threads, device.provider)
        if accept is not None:
            accept(_wholes(wholes, times))
        single, layers = layer_jobs(analysis, folder)
        times.update(_timed(folder, [*block_jobs(folder), *single], device, track, "Timing layers"))
    found = {**_header(model, analysis), "wholes": wholes, "layers": layers}
    found |= {"machine": device.describe(), "times": times}
    write_cache("latency", key, found)
    return found


def profile_to(path: Path, model: Model, analysis: Analysis, device: Device, track: Track = silent) -> LatencyTable:
    """Time a network's layers on this machine, whatever was found before, and write the table.

    Raises:
        InputError: the network cannot be run on noise, or the file cannot be written.
    """
    found = profile_here(model, analysis, device, track, anew=True)
    table = table_of(found, analysis)
    write_bytes(path, (json.dumps(found, indent=1) + "\n").encode())
    return table


def refuse_provider(device: Device) -> None:
    """Refuse an execution provider that this onnxruntime does not have.

    Raises:
        InputError: it does not; the message has those that there are.
    """
    there = board.providers()
    if device.provider not in there:
        raise InputError(f"This onnxruntime has no {device.provider!r}; it has {', '.join(there)}.")


def contents(model: Model, analysis: Analysis, folder: Path) -> dict[str, Any]:
    """Write all models to be timed, and return what is timed, with the `jobs` to do."""
    refuse_untimed(analysis)
    whole, wholes = whole_jobs(model, analysis, folder)
    single, layers = layer_jobs(analysis, folder)
    jobs = [*whole, *block_jobs(folder), *single]
    return {**_header(model, analysis), "wholes": wholes, "layers": layers, "jobs": jobs}


def pack(model: Model, analysis: Analysis, path: Path) -> int:
    """Write an archive that times the network wherever Python, numpy and onnxruntime are; return how many jobs it has.

    Raises:
        InputError: it cannot be written, or the network cannot be run on noise.
    """
    with TemporaryDirectory(prefix="onnxprune-") as name, Staging() as staging:
        folder = Path(name)
        content = contents(model, analysis, folder)
        (folder / "jobs.json").write_text(json.dumps(content), encoding="utf-8")
        (folder / "__main__.py").write_bytes(Path(board.__file__).read_bytes())
        with explained(path):
            target = staging.folder(path) / path.name
            zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)
        staging.commit(last=path)
    return len(content["jobs"])


def refuse_untimed(analysis: Analysis) -> None:
    """Refuse a network that cannot be run on noise.

    Raises:
        InputError: it cannot.
    """
    for spec in analysis.graph.input_specs:
        if spec.dtype != "float32" or analysis.graph.facts.shape_pair(spec.name) is None:
            raise InputError(
                f"Input {spec.name!r} is {spec.dtype} or of no known shape, and only networks that run on random "
                "float32 numbers are timed; export the model with the shapes of its inputs, or leave the latency out."
            )


def read_latency(path: Path, model: Model, analysis: Analysis) -> LatencyTable:
    """Read a table that `profile` or its archive wrote.

    Raises:
        InputError: it is none, or one of another model.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = (content["format"], content["model"], content["groups"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{path}' is no latency table ({type(error).__name__}); `onnxprune profile {model.path.name}` makes one."
        ) from None
    own = _header(model, analysis)
    if known[0] != FORMAT:
        raise InputError(f"'{path}' is a latency table of another version; make it again with `onnxprune profile`.")
    if known[1:] != (own["model"], own["groups"]):
        raise InputError(
            f"'{path}' was made for another model than {model.path.name}, or with another --allow; make one with "
            f"`onnxprune profile {model.path.name}`."
        )
    try:
        return table_of(content, analysis)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"'{path}' is damaged ({error!r}); make it again with `onnxprune profile`.") from None


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
        wholes=_wholes(content["wholes"], times),
        noise=float(np.median([(found["p90"] - found["p10"]) / found["median"] for found in times.values()])),
    )


def _layer_times(
    entry: Mapping[str, Any], times: Mapping[str, Mapping[str, float]], axes: tuple[int | None, int | None]
) -> LayerTimes:
    first, second = ([int(width) for width in widths] for widths in entry["widths"])
    found = [[times[f"{entry['prefix']}-{a}-{b}"]["median"] / 1000 for b in second] for a in first]
    widths = (np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    free = tuple(axis if len(known) > 1 else None for axis, known in zip(axes, widths, strict=True))
    return LayerTimes(entry["node"], entry["name"], (free[0], free[1]), widths, np.asarray(found))


def _wholes(entries: Sequence[Mapping[str, Any]], times: Mapping[str, Mapping[str, float]]) -> tuple[Whole, ...]:
    found = ((entry["kept"], times[entry["job"]]) for entry in entries)
    return tuple(Whole(kept, took["median"] / 1000, took["p10"] / 1000, took["p90"] / 1000) for kept, took in found)


def _header(model: Model, analysis: Analysis) -> dict[str, Any]:
    return {"format": FORMAT, "model": model.digest, "groups": {group.name: group.size for group in analysis.prunable}}


def _job(folder: Path, name: str, proto: Any, data: Sequence[int], ops: Sequence[str]) -> dict[str, Any]:
    (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
    return {"id": name, "file": f"{name}.onnx", "feeds": {DATA: list(data)}, "ops": list(ops)}


def _shape(analysis: Analysis, name: str) -> list[int]:
    pair = analysis.graph.facts.shape_pair(name)
    return [] if pair is None else [int(size) for size in pair[0]]


def _timed(
    folder: Path, jobs: Sequence[Mapping[str, Any]], device: Device, track: Track, what: str
) -> dict[str, dict[str, float]]:
    """Time models one after the other."""
    found: dict[str, dict[str, float]] = {}
    for (job,) in track(((job,) for job in jobs), total=len(jobs), what=what):
        found.update(board.run(lambda file: str(folder / file), unheard, [job], device.threads, device.provider))
    return found


def unheard(done: int, of: int) -> None:
    """Tell nobody: `track` counts."""


def time_models(paths: Sequence[Path], analysis: Analysis, device: Device) -> list[float]:
    """Return the median milliseconds of models that take the network's inputs, timed in turn."""
    feeds = {spec.name: _shape(analysis, spec.name) for spec in analysis.graph.input_specs}
    found = board.time_whole([str(path) for path in paths], feeds, device.threads, device.provider)
    return [times["median"] / 1000 for times in found]


def with_clock(analysis: Analysis, table: LatencyTable) -> Analysis:
    """Return the analysis with costs that foretell the latency by a table."""
    return replace(analysis, costs=replace(analysis.costs, clock=table.clock(analysis.costs)))
