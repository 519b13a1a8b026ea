"""Layers that the analysis could not look into, so that no group speaks of them."""

from collections.abc import Iterator

import onnx

from onnxprune.analysis.reading import Reading
from onnxprune.graph.layers.weight_layout import WEIGHTED

_LAYERS = WEIGHTED | {"LSTM", "GRU", "RNN", "ConvInteger", "MatMulInteger"}


def unread_layers(reading: Reading) -> Iterator[str]:
    """Yield in one sentence each what is left alone: layers whose shapes are unknown, and those inside of subgraphs."""
    for node, proto in zip(reading.graph.nodes, reading.graph.model.graph.node, strict=True):
        if node.op in _LAYERS and node.index in reading.refused:
            yield f"{node.title} is left alone: {reading.refused[node.index]}"
        inside = sum(op in _LAYERS for op in _ops_inside(proto))
        if inside:
            yield f"{node.title} is left alone with the {inside} layer(s) inside its subgraphs"


def _ops_inside(node: onnx.NodeProto) -> Iterator[str]:
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield inner.op_type
                yield from _ops_inside(inner)
