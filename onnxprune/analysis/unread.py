"""Layers that the analysis could not look into, so that no group speaks of them."""

from collections.abc import Iterator

import onnx

from onnxprune.analysis.reading import Reading
from onnxprune.graph.layers.weight_layout import WEIGHTED
from onnxprune.graph.model import Node
from onnxprune.graph.storage.subgraphs import subgraphs, with_inner

_NAMED = 3
_LAYERS = WEIGHTED | {"LSTM", "GRU", "RNN", "ConvInteger", "MatMulInteger"}


def unread_layers(reading: Reading) -> Iterator[str]:
    """Yield in one sentence each what is left alone: layers whose shapes are unknown, and those inside of subgraphs.

    Where a shape is unknown because of an op that is not read, it is this op that is named, with the layers behind it.
    """
    graph = reading.graph
    behind: dict[int, list[str]] = {}
    for node, proto in zip(graph.nodes, graph.model.graph.node, strict=True):
        if node.op in _LAYERS and node.index in reading.refused:
            cause = _cause(reading, node)
            behind.setdefault(cause.index, []).extend([] if cause is node else [node.title])
        inside = sum(op in _LAYERS for op in _ops_inside(proto))
        if inside:
            yield f"{node.title} is left alone with the {inside} layer(s) inside its subgraphs"
    for index, layers in behind.items():
        title, why = graph.nodes[index].title, reading.refused[index]
        named = ", ".join(layers[:_NAMED]) + (f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else "")
        if layers:
            yield f"{title} is left alone ({why}), and so {'are' if len(layers) > 1 else 'is'} what reads it: {named}"
        else:
            yield f"{title} is left alone: {why}"


def _cause(reading: Reading, node: Node) -> Node:
    """Follow tensors of unknown shape from a layer back to the refused node that the first of them comes from."""
    graph = reading.graph
    seen: set[int] = set()
    while node.index not in seen:
        seen.add(node.index)
        makers = [
            graph.producers[name]
            for name in node.inputs
            if name in graph.producers and graph.facts.shape_pair(name) is None
        ]
        further = [maker for maker in makers if maker.index in reading.refused]
        if not further:
            break
        node = further[0]
    return node


def _ops_inside(node: onnx.NodeProto) -> Iterator[str]:
    return (inner.op_type for graph in subgraphs(node) for inner in with_inner(graph.node))
