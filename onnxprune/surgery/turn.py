"""Turn residual streams by orthogonal matrices; the network computes what it did."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.streams import Stream
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.surgery.edits import Edits
from onnxprune.surgery.rewrite import rewrite
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
            scale, *shift = (Ref(name, number, slot) for slot, name in enumerate(norm.inputs) if slot and name)
            scales[number] = graph.facts.known[scale.name].first.astype(np.float64)
            values[scale] = np.ones(stream.size)
            for ref in shift:
                values[ref] = matrix @ (graph.facts.known[ref.name].first / scales[number])
        for axis, number in stream.reads:
            change(axis, matrix * scales[number])
        for axis in stream.makes:
            change(axis, made)
    tensors = {ref.name: value.astype(graph.facts.known[ref.name].first.dtype) for ref, value in values.items()}
    proto, outside = rewrite(graph.model, Edits(tensors, {}, {}, {}, {}, {}))
    return StoredModel(proto, replace(graph.weights, changed={**graph.weights.changed, **outside}))
