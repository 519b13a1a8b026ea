"""Second moments of what the layers behind the groups read: every channel at every tap of the kernel, together.

The inputs of all these layers leave the runtime, a few samples at a time, and are looked at where some positions of
their outputs read them. Memory depends on the widths of the layers, not on the number of samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.analysis.analyse import Analysis
from onnxprune.calibration.probes import POSITIONS
from onnxprune.data.dataset import Dataset
from onnxprune.linear.layers import Layer, find_layers
from onnxprune.linear.matrix import as_matrix, input_axis
from onnxprune.linear.patches import patches, picked, sample_rows
from onnxprune.runtime.session import Chunk, Session, open_session
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import Consumer

SAMPLES_PER_CALL = 8
MOST_INPUTS = 4608
"""Widest system whose moments are gathered; a wider layer (a fully connected one behind a map) is left out."""


@dataclass
class _Sums:
    """The weight as the target sees it, and sums over rows: of the inputs, their products, the target, its squares.

    Inputs are channels times taps where it is `tapped`, else channels. `seen` counts rows of the target.
    """

    layer: Layer
    matrix: NDArray[Any]
    tapped: bool
    count: int
    x: NDArray[np.float64]
    xx: NDArray[np.float64]
    y: NDArray[np.float64]
    yy: float
    seen: int = 0


def input_moments(
    analysis: Analysis,
    dataset: Dataset,
    *,
    most_tapped: int = MOST_INPUTS,
    seed: int = 0,
    track: Track = silent,
) -> tuple[Consumer, ...]:
    """Gather the moments of every layer whose weight sums over channels of a prunable group.

    Layers with more than `most_tapped` inputs (channels times taps) are looked at by channel, as though what the taps
    read had nothing to do with each other.

    Left out are layers that cannot be written as a linear system (`find_layers` says which), grouped ConvTranspose, and
    systems wider than `MOST_INPUTS`.
    """
    sums = _start(analysis, most_tapped)
    if not sums:
        return ()
    session = _session(analysis, [entry.layer for entry in sums])
    rng = np.random.default_rng(seed)
    for batch in track(dataset.batches(SAMPLES_PER_CALL), total=len(dataset), what="Gathering moments"):
        for chunk in session.chunks(batch.feeds):
            found = session.run(chunk.feeds)
            for entry in sums:
                _add(entry, {**chunk.feeds, **found}, chunk, rng)
    return tuple(_result(entry) for entry in sums if entry.count)


def _start(analysis: Analysis, most_tapped: int) -> list[_Sums]:
    graph = analysis.graph
    read = {member.axis for group in analysis.prunable for member in group.members if member.role == "weight"}
    sums = []
    for layer in find_layers(graph, solvable=False)[0]:
        grouped = int(layer.node.attrs.get("group", 1)) > 1
        if _axis(layer) not in read or (layer.node.op == "ConvTranspose" and grouped):
            continue  # the groups of a ConvTranspose lie on the same axis of its weight as its channels
        matrix = as_matrix(layer.node, graph.facts.known[layer.node.inputs[1]].first)
        groups, inputs, outputs = matrix.shape
        matrix = matrix * layer.slope.reshape(groups, 1, outputs)
        tapped = inputs <= most_tapped or not layer.kernel
        if not tapped:
            inputs = layer.shape[input_axis(layer.node)]
            matrix = matrix.reshape(groups, inputs, -1)
        if inputs <= MOST_INPUTS:
            x, xx = np.zeros((groups, inputs)), np.zeros((groups, inputs, inputs))
            sums.append(_Sums(layer, matrix, tapped, 0, x, xx, np.zeros(groups * outputs), 0.0))
    return sums


def _axis(layer: Layer) -> Axis:
    return Axis(Ref(layer.node.inputs[1], layer.node.index, 1), input_axis(layer.node))


def _session(analysis: Analysis, layers: Sequence[Layer]) -> Session:
    model = onnx.ModelProto()
    model.CopyFrom(analysis.graph.model)
    del model.graph.output[:]
    names = dict.fromkeys(name for layer in layers for name in (layer.source, layer.target))
    fed = {value.name for value in model.graph.input}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in fed)
    weights = analysis.graph.weights
    chunk_size = open_session(analysis.graph.model, weights, optimization="none", prepack=False).chunk_size
    session = open_session(model, weights, name="the model with its inner tensors")
    session.chunk_size = chunk_size
    return session


def _add(entry: _Sums, found: dict[str, NDArray[Any]], chunk: Chunk, rng: np.random.Generator) -> None:
    layer, target = entry.layer, found[entry.layer.target]
    if len(target) % chunk.size == 0:
        target = target[: len(target) // chunk.size * chunk.count]  # the others only fill the call up
    rows = sample_rows(target.shape, layer.channels, POSITIONS, rng)
    source = found[layer.source]
    if entry.tapped:
        x = patches(layer.node, source, layer.kernel, rows, layer.space(target.shape))
    else:
        places = sample_rows(source.shape, 1, POSITIONS, rng)
        x = picked(source, 1, places).reshape(len(places.image), len(entry.x), -1)
    y = picked(target, layer.channels, rows).astype(np.float64)
    entry.count += len(x)
    entry.seen += len(y)
    entry.x += x.sum(axis=0, dtype=np.float64)
    entry.xx += x.transpose(1, 2, 0) @ x.transpose(1, 0, 2)
    entry.y += y.sum(axis=0)
    entry.yy += float(np.square(y).sum())


def _result(entry: _Sums) -> Consumer:
    mean = entry.x / entry.count
    moments = entry.xx / entry.count - mean[:, :, None] * mean[:, None, :]
    scale = entry.yy / entry.seen - float(np.square(entry.y / entry.seen).sum())
    layer = entry.layer
    channels = layer.shape[input_axis(layer.node)]
    return Consumer(layer.output, _axis(layer), entry.matrix.astype(np.float64), moments, channels, scale)
