"""What methods ask of the layers themselves, without any data: weights by channel, and scales of normalisations."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.graph.layers.weight_layout import WeightLayout
from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import Axis, FloatArray, frozen_array
from onnxprune.values.statistics import BN_SCALE, WEIGHTS, LayerStatistics

Array = NDArray[Any]


def read_weights(analysis: Analysis, needs: frozenset[str]) -> Mapping[str, LayerStatistics]:
    """Return the asked-for facts of every layer that makes channels of a prunable group, by the name of its output."""
    found = {}
    for group in analysis.prunable:
        for member in group.members:
            if member.role == "produces":
                entry = _entry(analysis.graph, member.axis, needs)
                found[entry.layer] = entry
    return found


def _entry(graph: Graph, axis: Axis, needs: frozenset[str]) -> LayerStatistics:
    node = graph.producers[axis.ref.name]
    rows = weight_rows(graph, node) if WEIGHTS in needs else None
    scale = _bn_scale(graph, axis) if BN_SCALE in needs else None
    values = {} if scale is None else {BN_SCALE: frozen_array(scale[None])}
    return LayerStatistics(
        layer=axis.ref.name,
        tensor=axis.ref.name,
        kind="map",
        positions=0,
        values=values,
        weight_rows=np.zeros((0, 0)) if rows is None else frozen_array(rows),
    )


def weight_rows(graph: Graph, node: Node) -> Array | None:
    """Return the weights that make each output channel of a layer, [channels, weights], or None for other ops.

    They are views of the stored weight where its layout allows it: a large model is not held twice.
    """
    if node.domain:
        return None
    known = [graph.facts.known.get(name) if name else None for name in node.inputs]
    layout = node.weight_layout
    if layout is None or layout.quantized:
        return None
    weight = known[layout.weight]
    if weight is not None:
        return _by_output(layout, weight.first)
    if node.op == "MatMul" and known[0] is not None and known[0].first.ndim == 2:
        return known[0].first
    return None


def _by_output(layout: WeightLayout, weight: Array) -> Array:
    if layout.transposed:
        split = weight.reshape(layout.groups, len(weight) // layout.groups, weight.shape[1], -1)
        return split.transpose(0, 2, 1, 3).reshape(layout.groups * weight.shape[1], -1)
    if layout.outputs == 0:
        return weight if weight.ndim == 2 else weight.reshape(len(weight), -1)
    return np.moveaxis(weight, layout.outputs, 0).reshape(weight.shape[layout.outputs], -1)


def _bn_scale(graph: Graph, axis: Axis) -> FloatArray | None:
    readers = graph.readers.get(axis.ref.name, ())
    if len(readers) != 1 or readers[0].op != "BatchNormalization" or axis.dim != 1:
        return None
    known = graph.facts.known.get(readers[0].inputs[1])
    return None if known is None else np.asarray(known.first, dtype=np.float64)
