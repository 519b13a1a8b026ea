"""Which constants of a graph are trained: those that a layer multiplies by, adds as a bias or looks up."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.graph.model import Graph, Node

Array = NDArray[Any]

TRAINED: Mapping[str, frozenset[int]] = {
    "BatchNormalization": frozenset({1, 2}),
    "Conv": frozenset({1, 2}),
    "ConvTranspose": frozenset({1, 2}),
    "Einsum": frozenset({0, 1, 2}),
    "GRU": frozenset({1, 2, 3}),
    "Gather": frozenset({0}),
    "Gemm": frozenset({0, 1, 2}),
    "GroupNormalization": frozenset({1, 2}),
    "InstanceNormalization": frozenset({1, 2}),
    "LSTM": frozenset({1, 2, 3}),
    "LayerNormalization": frozenset({1, 2}),
    "MatMul": frozenset({0, 1}),
    "PRelu": frozenset({1}),
    "RNN": frozenset({1, 2, 3}),
}
"""Inputs that are weights wherever they are constants, by op."""

ADDED = frozenset({"Add", "Mul"})
"""Ops whose constants are weights where they are no plain numbers: biases, scales, embeddings of positions."""

MOVES = frozenset(
    {
        "Cast",
        "Concat",
        "Expand",
        "Flatten",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Ops that hand a weight on."""

FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
)
MASK_BELOW = -20.0
"""A constant that holds nothing but 0 and numbers below this is added to scores to shut them out."""


def trained_constants(graph: Graph) -> tuple[str, ...]:
    """Return the stored float tensors (initializers, values of Constant nodes) that are trained, in the file's order.

    Plain numbers (sqrt(d), the 0.5 of a GELU), masks, what normalises the input of the graph, and the running
    statistics of normalisations are none.
    """
    return tuple(name for name in stored_constants(graph) if _is_float(graph, name) and any(_weighs(graph, name)))


def stored_constants(graph: Graph) -> tuple[str, ...]:
    """Return the constants that the file holds: initializers and values of Constant nodes."""
    return tuple(name for name in graph.facts.known if name in graph.initializers or _is_constant(graph, name))


def _is_constant(graph: Graph, name: str) -> bool:
    node = graph.producers.get(name)
    return node is not None and node.op == "Constant" and "value" in node.attrs


def _is_float(graph: Graph, name: str) -> bool:
    kind = graph.facts.types[0].get(name)
    return kind is not None and kind.tensor_type.elem_type in FLOATS


def _weighs(graph: Graph, root: str) -> Iterator[bool]:
    """Yield for every reader of a constant, also behind moves, whether it is a weight there."""
    value = graph.facts.known[root].first
    todo = [root]
    while todo:
        name = todo.pop()
        for node in graph.readers.get(name, ()):
            if node.domain:
                continue
            if (node.op in MOVES and node.inputs[0] == name) or node.op == "Concat":
                todo += [output for output in node.outputs if output]
            yield any(_is_weight(graph, node, slot, value) for slot, read in enumerate(node.inputs) if read == name)


def _is_weight(graph: Graph, node: Node, slot: int, value: Array) -> bool:
    if node.op in TRAINED:
        return slot in TRAINED[node.op]
    if node.op not in ADDED or value.size <= 1:
        return False
    other = node.inputs[1 - slot]
    return _source(graph, other) not in graph.inputs and not _is_mask(node, value)


def _source(graph: Graph, name: str) -> str:
    """Follow what changes nothing, or arithmetic with constants, back to what it came from."""
    while name in graph.producers:
        node = graph.producers[name]
        ahead = [read for read in node.inputs if read and not graph.is_leaf(read)]
        if node.op not in ("Cast", "Identity", "Add", "Sub", "Mul", "Div", "Transpose") or len(ahead) != 1:
            break
        name = ahead[0]
    return name


def _is_mask(node: Node, value: Array) -> bool:
    return node.op == "Add" and bool(np.all((value == 0) | (value < MASK_BELOW))) and bool((value != 0).any())
