"""On which steps the values of a tensor lie: the scale and zero point that made its integers, or its floats of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from onnxprune.graph.layers.quantized import layout
from onnxprune.graph.model import Graph

_INTEGERS: Mapping[int, str] = {
    TensorProto.INT4: "int4",
    TensorProto.UINT4: "uint4",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.INT16: "int16",
    TensorProto.UINT16: "uint16",
}

# Ops that hand on some of their input's values as they are.
_MOVES = frozenset(
    """
    DepthToSpace Flatten Gather Identity MaxPool Relu Reshape Slice SpaceToDepth Split Squeeze Transpose Unsqueeze
    """.split()
)


@dataclass(frozen=True)
class Scale:
    """The integer type, and the names of scale and zero point (empty: 0); `is_integer`: these are the integers."""

    dtype: str
    scale: str
    zero: str
    is_integer: bool


def scale_of(graph: Graph, name: str) -> Scale | None:
    """Return the scale of the values of an activation, or None where they do not lie on steps of one size."""
    start = name
    while name in graph.producers and graph.producers[name].op in _MOVES:
        name = graph.producers[name].inputs[0]
    node = graph.producers.get(name)
    found = None if node is None else layout(node.domain, node.op, node.inputs)
    if node is None or found is None:
        return None
    is_integer = node.op != "DequantizeLinear"
    data = found.result if is_integer else found.data[0]
    dtype = _INTEGERS.get(_kind(graph, start if is_integer else node.inputs[0]))
    if data.scale < 0 or dtype is None or graph.facts.shapes[0].get(node.inputs[data.scale]) not in ((), (1,)):
        return None
    return Scale(dtype, node.inputs[data.scale], node.inputs[data.zero] if data.zero >= 0 else "", is_integer)


def step_of(graph: Graph, name: str) -> tuple[float, str] | None:
    """Return the size of one step between values of an activation and the integer type, where both are known."""
    scale = scale_of(graph, name)
    if scale is None:
        return None
    if scale.is_integer:
        return 1.0, scale.dtype
    known = graph.facts.known.get(scale.scale)
    return None if known is None else (float(np.max(known.first)), scale.dtype)


def _kind(graph: Graph, name: str) -> int:
    found = graph.facts.types[0].get(name)
    return TensorProto.UNDEFINED if found is None else found.tensor_type.elem_type
