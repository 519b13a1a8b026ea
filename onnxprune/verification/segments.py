"""A network taken apart at its integers, so that every stretch between two roundings or decisions runs by itself."""

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from onnxprune.graph.layers.quantized import layout
from onnxprune.graph.model import Graph

Values = Mapping[str, NDArray[Any]]

_HALF = onnx.TensorProto.FLOAT16
_FLOATS = frozenset((onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16))
_NUMBERED = frozenset(("MaxPool", "Shape", "Size"))
"""Ops whose integers depend on how many channels there are."""

_DECIDED = frozenset((onnx.TensorProto.BOOL, onnx.TensorProto.INT32, onnx.TensorProto.INT64))


def quantized_tensors(graph: Graph, cut: onnx.ModelProto) -> dict[str, int]:
    """Return the integer activations that quantizing nodes make in both networks, with their element types."""
    remaining = {name for node in cut.graph.node for name in node.output}
    found = {}
    for node in graph.nodes:
        about = layout(node.domain, node.op, node.inputs)
        name = node.outputs[0]
        if about is not None and about.result.scale >= 0 and name in remaining - graph.constant_derived:
            found[name] = graph.facts.types[0][name].tensor_type.elem_type
    return found


def decisions(graph: Graph, cut: onnx.ModelProto) -> dict[str, int]:
    """Return the integers and truth values that both networks make of floats, with their element types.

    They rank, choose or compare: a difference in the last bit can turn one, and with it all that comes after.
    """
    remaining = {name for node in cut.graph.node for name in node.output}
    types = graph.facts.types[0]

    def kind(name: str) -> int:
        return types[name].tensor_type.elem_type if name in types else onnx.TensorProto.UNDEFINED

    return {
        name: kind(name)
        for node in graph.nodes
        if node.op not in _NUMBERED and not graph.is_folded(node)
        if any(kind(read) in _FLOATS and read not in graph.constant_derived for read in node.inputs)
        for name in node.outputs
        if kind(name) in _DECIDED and name in remaining - graph.constant_derived
    }


def half_precision(graph: Graph) -> frozenset[str]:
    """Return the tensors that are computed in half precision, or from what is."""
    half = {name for name, known in graph.facts.types[0].items() if known.tensor_type.elem_type == _HALF}
    for node in graph.nodes:
        if half & {*node.inputs, *node.captured}:
            half.update(node.outputs)
    return frozenset(half)


def segmented(model: onnx.ModelProto, tensors: Mapping[str, int]) -> onnx.ModelProto:
    """Return a copy in which nodes read `tensors` (with element types) from graph inputs of their own, see `fed`."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        node.input[:] = [_fed(name) if name in tensors else name for name in node.input]
    for name, kind in tensors.items():
        result.graph.input.append(onnx.helper.make_tensor_value_info(_fed(name), kind, None))
    return result


def fed(call: Values, values: Values) -> dict[str, NDArray[Any]]:
    """Return the feed of a segmented network: that of the network itself, and `values` of the tensors."""
    return {**call, **{_fed(name): value for name, value in values.items()}}


def _fed(name: str) -> str:
    return f"{name}/onnxprune_fed"
