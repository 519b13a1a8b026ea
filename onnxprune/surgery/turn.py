"""Turn residual streams by orthogonal matrices; the network computes what it did."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.blocks import stands_alone
from onnxprune.analysis.streams import Stream
from onnxprune.graph.model import Graph
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.surgery.edits import Edits
from onnxprune.surgery.rewrite import edited
from onnxprune.values.axes import Axis, FloatArray, Ref

Array = NDArray[Any]


def turn(analysis: Analysis, turns: Mapping[Stream, FloatArray]) -> StoredModel:
    """Return the model whose streams are multiplied by matrices.

    What makes a stream is multiplied by its matrix (after its mean over the channels is taken out, where the
    normalisations do so), what reads it by the transpose, with the scales of the normalisation between.

    Args:
        analysis: of the model, which stays as it is.
        turns: stream -> orthogonal matrix, [channels, channels], see `principal_axes`.
    """
    graph = analysis.graph
    values: dict[Ref, Array] = {}

    def change(axis: Axis, matrix: FloatArray) -> None:
        value = values.get(axis.ref, graph.facts.known[axis.ref.name].first)
        values[axis.ref] = np.moveaxis(np.tensordot(matrix, value, axes=(1, axis.dim)), 0, axis.dim)

    for stream, matrix in turns.items():
        made = matrix - 1 / stream.size if stream.centred else matrix
        scales = {}
        for number, norm in stream.norms.items():
            scales[number] = np.ones(stream.size)
            if norm.scale is not None:
                scales[number] = graph.facts.known[norm.scale.name].first.astype(np.float64)
                values[norm.scale] = np.ones(stream.size)
            if norm.shift is not None:
                values[norm.shift] = matrix @ (graph.facts.known[norm.shift.name].first / scales[number])
        for axis, number in stream.reads:
            change(axis, matrix * scales[number])
        gains = {axis: graph.facts.known[gain.ref.name].first for axis, gain in stream.gains.items()}
        for axis in stream.makes:
            change(axis, made * gains[axis].ravel() if axis in gains else made)
        values.update(
            {gain.ref: np.ones_like(graph.facts.known[gain.ref.name].first) for gain in stream.gains.values()}
        )
    return edited(graph, _edits(graph, values))


def _edits(graph: Graph, values: Mapping[Ref, Array]) -> Edits:
    """Return the edits that give uses of constants other values, as copies where something else reads them too."""
    tensors: dict[str, Array] = {}
    copies: dict[str, str] = {}
    added: dict[str, Array] = {}
    operands: dict[tuple[int, int], str] = {}
    for ref, value in values.items():
        value = value.astype(graph.facts.known[ref.name].first.dtype)
        if stands_alone(graph, ref.name):
            tensors[ref.name] = value
            continue
        root = graph.root(ref.name)
        name = f"{root}_turned_{ref.node}_{ref.slot}"
        while name in graph.facts.shapes[0] or name in added:
            name += "_"
        added[name], operands[ref.node, ref.slot], copies[name] = value, name, root
    return Edits(tensors, operands, added, {}, copies, {})
