"""Which parameters are trained: the whole network, a part of it, or nothing.

After the study of Narkhede et al. 2024 (retraining the entire network, a part of it, or nothing, which is stated); what
the parts are is our reading.
"""

from collections.abc import Collection, Mapping

from onnxprune.errors import InputError
from onnxprune.finetune.training.recipe import Part
from onnxprune.graph.layers.weight_layout import CONVOLUTIONS
from onnxprune.graph.model import Graph, Node

NORMS = frozenset({"BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization"})
TAIL = 1 / 3
"""Share of the layers, from the end, that is the tail."""

PARTS: Mapping[Part, str] = {
    "full": "every parameter",
    "tail": "the last third of the layers, with what normalises them",
    "fc": "what lies behind the last convolution: the fully connected layers",
    "norm": "scales and biases: of normalisations, and the biases of layers",
    "none": "nothing; running statistics move with --bn train",
}


def chosen(graph: Graph, trained: Collection[str], part: Part) -> frozenset[str]:
    """Return which of the parameters `trained` a part of the network has.

    Raises:
        InputError: the network has no such part.
    """
    if part == "full":
        return frozenset(trained)
    if part == "none":
        return frozenset()
    uses = _uses(graph, trained)
    found = {
        "tail": lambda: _from(uses, _tail_start(uses)),
        "fc": lambda: _from(uses, _behind_convolutions(graph)),
        "norm": lambda: {name for name, nodes in uses.items() if all(_is_shift(node, name) for _, node in nodes)},
    }[part]()
    if not found:
        raise InputError(
            f"The network has nothing that --train {part} stands for ({PARTS[part]}); train another part.",
            "unsupported-model",
        )
    return frozenset(found)


Uses = Mapping[str, list[tuple[int, Node]]]
"""By parameter the nodes that read it, with their places in the file, also behind nodes that only move it."""


def _uses(graph: Graph, trained: Collection[str]) -> Uses:
    origin = {name: {name} for name in trained}
    found: dict[str, list[tuple[int, Node]]] = {name: [] for name in trained}
    for place, node in enumerate(graph.nodes):
        read = set().union(*(origin.get(name, ()) for name in node.inputs))
        if read and all(not name or graph.is_leaf(name) or name in origin for name in node.inputs):
            for output in node.outputs:
                origin[output] = read  # made of parameters alone: whoever reads it uses them
            continue
        for name in read:
            found[name].append((place, node))
    return found


def _from(uses: Uses, start: int) -> set[str]:
    return {name for name, nodes in uses.items() if nodes and min(place for place, _ in nodes) >= start}


def _tail_start(uses: Uses) -> int:
    """Return the place of the first layer of the tail."""
    layers = sorted(
        {place for nodes in uses.values() for place, node in nodes if node.op not in NORMS | {"Add", "Mul"}}
    )
    return layers[len(layers) - max(1, round(TAIL * len(layers)))] if layers else 0


def _behind_convolutions(graph: Graph) -> int:
    """Return the first place behind the last convolution and what normalises or shifts it."""
    last = max((place for place, node in enumerate(graph.nodes) if node.op in CONVOLUTIONS), default=-1)
    while last + 1 < len(graph.nodes) and graph.nodes[last + 1].op in NORMS | {"Add", "Mul"}:
        last += 1
    return last + 1


def _is_shift(node: Node, name: str) -> bool:
    slots = [slot for slot, read in enumerate(node.inputs) if read == name]
    if node.op in NORMS:
        return True
    layout = node.weight_layout
    return (layout is not None and slots == [layout.bias]) or node.op == "Add"
