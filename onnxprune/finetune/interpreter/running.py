"""Running statistics: a BatchNormalization has its own, also where the file stores one tensor for several readers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxprune.finetune.interpreter.parameters import stored_constants
from onnxprune.graph.model import Graph, Node

SLOTS = {3: "running_mean", 4: "running_var"}
"""Inputs of a BatchNormalization that training moves."""


@dataclass(frozen=True)
class Running:
    """A running mean or variance.

    Attributes:
        name: what it is called in the module.
        source: the tensor of the graph with its first value.
        node, slot: the place of the node in the file, and the input that it is.
        own: whether the file has a tensor that holds it and nothing else; that is its name then.
    """

    name: str
    source: str
    node: int
    slot: int
    own: bool


def running_statistics(graph: Graph) -> tuple[Running, ...]:
    """Return what the normalisations of a graph would learn without a gradient, as far as it is not fed."""
    stored = frozenset(stored_constants(graph))
    taken = {name for node in graph.nodes for name in (*node.inputs, *node.outputs)}
    found = []
    for node in graph.nodes:
        if node.kind != "BatchNormalization" or node.attrs.get("training_mode", 0):
            continue
        for slot, what in SLOTS.items():
            source = node.inputs[slot]
            if not graph.is_leaf(source):
                continue
            own = source in stored and _reads(graph, source) == 1
            name = source if own else f"{node.outputs[0]}.{what}"
            while not own and name in taken:
                name += "_"
            found.append(Running(name, source, node.index, slot, own))
    return tuple(found)


def with_names(nodes: Sequence[Node], running: Sequence[Running]) -> list[Node]:
    """Return the nodes with running statistics read under the names of their own."""
    names = {(found.node, found.slot): found.name for found in running}
    return [
        replace(node, inputs=tuple(names.get((node.index, slot), name) for slot, name in enumerate(node.inputs)))
        for node in nodes
    ]


def _reads(graph: Graph, name: str) -> int:
    """Return how many inputs of nodes are this tensor."""
    return sum(node.inputs.count(name) + node.captured.count(name) for node in graph.readers.get(name, ()))
