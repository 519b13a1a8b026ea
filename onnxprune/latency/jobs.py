"""What is timed: which layers at which widths, the whole network at some, and timing them on this machine.

A job is a model in a file and what `board` has to know of it, as JSON types: {id, file, feeds, ops}.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model
from onnxprune.graph.single_layer import DATA, KERNELS, SingleLayer, layer_model, single_layer
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.staging import explained
from onnxprune.latency import board
from onnxprune.latency.device import Device
from onnxprune.surgery.cut import cut
from onnxprune.values.axes import Axis, BoolArray, Ref
from onnxprune.values.progress import Track

PITCH = 16
"""Layers are timed at multiples of this, a block of most kernels or several of them."""

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Of a width that are timed."""

NARROW = (4, 8, 12)
"""Widths below a block that are timed too, in case that they are slower than a whole one."""


def refuse_untimed(analysis: Analysis) -> None:
    """Refuse a network that cannot be run on noise.

    Raises:
        InputError: it cannot.
    """
    for spec in analysis.graph.input_specs:
        if spec.dtype != "float32" or analysis.graph.facts.shape_pair(spec.name) is None:
            raise InputError(
                f"Input {spec.name!r} is {spec.dtype} or of no known shape, and only networks that run on random "
                "float32 numbers are timed; export the model with the shapes of its inputs, or leave the latency out.",
                "unsupported-model",
            )


def timed_widths(size: int, least: int) -> tuple[int, ...]:
    """Return the widths between `least` and `size` that are timed, rising."""
    small = [width for width in (*NARROW, PITCH, PITCH + PITCH // 2) if least <= width < size]
    found = {min(size, PITCH * math.ceil(size * share / PITCH)) for share in SHARES}
    return tuple(sorted({*found, *([least] if least < PITCH else small[:1]), *(small if size <= 2 * PITCH else ())}))


def timed_layers(analysis: Analysis) -> Iterator[tuple[SingleLayer, tuple[int | None, int | None]]]:
    """Yield the layers that are timed alone, with the columns of the widths of their weights' first two axes."""
    graph = analysis.graph
    for node in graph.nodes:
        layer = None if graph.is_folded(node) else single_layer(graph, node)
        if layer is not None:
            ref = Ref(node.inputs[1], node.index, 1)
            numbers = analysis.costs.numbers
            yield layer, (numbers.get(Axis(ref, 0)), numbers.get(Axis(ref, 1)))


def layer_jobs(analysis: Analysis, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the layers that can be timed alone, at the widths that matter; return the jobs and what they are of."""
    jobs: dict[str, dict[str, Any]] = {}
    layers: list[dict[str, Any]] = []
    known: dict[Any, int] = {}
    for layer, axes in timed_layers(analysis):
        free = tuple(axis is not None and bool(analysis.costs.multiplicity[axis].any()) for axis in axes)
        widths = [
            timed_widths(size, max(1, math.ceil(SHARES[0] * size))) if is_free else (size,)
            for size, is_free in zip(layer.weight[:2], free, strict=True)
        ]
        prefix = f"layer-{known.setdefault((layer.key, free), len(known))}"
        for first in widths[0]:
            for second in widths[1]:
                name = f"{prefix}-{first}-{second}"
                if name not in jobs:
                    found = layer_model(layer, (first, second, *layer.weight[2:]))
                    jobs[name] = kernel_job(folder, name, *found, KERNELS[layer.node.op])
        layers.append(
            {
                "node": layer.node.index,
                "name": layer.node.title,
                "widths": [list(each) for each in widths],
                "prefix": prefix,
            }
        )
    return list(jobs.values()), layers


def kernel_job(folder: Path, name: str, proto: Any, data: Sequence[int], ops: Sequence[str]) -> dict[str, Any]:
    """Write a model of one layer, and return the job of timing its kernels `ops` on `data` of this shape."""
    (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
    return {"id": name, "file": f"{name}.onnx", "feeds": {DATA: list(data)}, "ops": list(ops)}


def network_jobs(model: Model, analysis: Analysis, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the network as it is and cut to some widths; return the jobs, and by job what groups kept."""
    jobs, networks = [], []
    feeds = input_shapes(analysis)
    for number, kept in enumerate(_network_widths(analysis)):
        name = f"whole-{number}"
        masks = {group.name: np.arange(group.size) < kept[group.name] for group in analysis.prunable if kept}
        file = write_cut(model, analysis, masks, folder / name).relative_to(folder).as_posix()
        jobs.append({"id": name, "file": file, "feeds": feeds, "ops": []})
        networks.append({"job": name, "kept": kept})
    return jobs, networks


def _network_widths(analysis: Analysis) -> Iterator[dict[str, int]]:
    """Yield widths of whole networks: all of them, the least, and some shares in between."""
    yield {}
    for share in SHARES[:-1]:
        yield {
            group.name: min(group.size, max(1, PITCH * math.ceil(group.size * share / PITCH)))
            if group.size * share >= PITCH
            else max(1, math.ceil(group.size * share))
            for group in analysis.prunable
        }


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


def input_shapes(analysis: Analysis) -> dict[str, list[int]]:
    """Return the shapes of the network's inputs, the free sizes at 1."""
    pairs = {spec.name: analysis.graph.facts.shape_pair(spec.name) for spec in analysis.graph.input_specs}
    return {name: [] if pair is None else [int(size) for size in pair[0]] for name, pair in pairs.items()}


def run_jobs(
    folder: Path, jobs: Sequence[Mapping[str, Any]], device: Device, track: Track, what: str
) -> dict[str, dict[str, float]]:
    """Time the jobs whose files are in a folder one after the other on this machine; return their times by id."""
    found: dict[str, dict[str, float]] = {}
    for (job,) in track(((job,) for job in jobs), total=len(jobs), what=what):
        found.update(run_together(folder, [job], device))
    return found


def run_together(folder: Path, jobs: Sequence[Mapping[str, Any]], device: Device) -> dict[str, dict[str, float]]:
    """Time jobs on this machine, whole networks among them in turn; return their times by id."""
    return board.run(lambda file: str(folder / file), jobs, device.threads, device.provider)
