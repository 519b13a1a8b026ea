"""Weights that are no numbers: nothing can be ranked, solved or compared with them."""

import numpy as np

from onnxprune.graph.model import Graph, Node

_NORMS = frozenset(
    ("BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "RMSNormalization")
)


def odd_weight(graph: Graph) -> str:
    """Name the first weight or bias of a layer that holds NaN or infinity; '' where all are finite.

    Constants that are added or compared may be infinite, as masks of attention are.
    """
    for node in graph.nodes:
        if graph.is_folded(node):
            continue
        for slot in _slots(node):
            known = graph.facts.known.get(node.inputs[slot]) if slot < len(node.inputs) else None
            value = None if known is None or not known.is_constant else known.first
            if value is None or value.dtype.kind != "f" or value.size == 0:
                continue
            if not (np.isfinite(value.min()) and np.isfinite(value.max())):
                wrong = int(value.size - np.isfinite(value).sum())
                return (
                    f"{node.inputs[slot]!r}, which {node.title} reads, holds NaN or infinity in {wrong} of its "
                    f"{value.size} places"
                )
        graph.weights.release()
    return ""


def _slots(node: Node) -> tuple[int, ...]:
    layout = node.weight_layout
    if layout is not None:
        return (layout.weight, *(() if layout.bias is None else (layout.bias,)))
    return tuple(range(1, len(node.inputs))) if node.op in _NORMS else ()
