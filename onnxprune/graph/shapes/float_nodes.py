"""Shapes of quantized ops that the standard does not know: those of the equivalent float node."""

from collections.abc import Mapping

import onnx
from onnx import TensorProto, TypeProto

from onnxprune.graph.layers.quantized import MICROSOFT, layout


def equivalent_float_node(node: onnx.NodeProto, opset: int) -> onnx.NodeProto | None:
    """Return the standard op whose result has the shape of this node's, or None where the node is no such op."""
    found = layout(node.domain, node.op_type, node.input) if node.domain == MICROSOFT else None
    if found is None or any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute):
        return None
    try:
        known = onnx.defs.get_schema(found.float_op, opset).attributes
    except onnx.defs.SchemaError:
        return None
    float_node = onnx.NodeProto(op_type=found.float_op, output=node.output[:1])
    float_node.input.extend(node.input[data.slot] for data in found.data)
    float_node.attribute.extend(attribute for attribute in node.attribute if attribute.name in known)
    return float_node


def as_floats(types: Mapping[str, TypeProto]) -> dict[str, TypeProto]:
    """Return the types of the operands as the float op has them: floats in place of integers."""
    return {
        name: kind if kind.tensor_type.elem_type == TensorProto.BOOL else _of(kind, TensorProto.FLOAT)
        for name, kind in types.items()
    }


def as_result(
    node: onnx.NodeProto, types: Mapping[str, TypeProto], inferred: Mapping[str, TypeProto]
) -> dict[str, TypeProto]:
    """Give what was inferred for the float op the type of the quantized result: its zero point's, or else float."""
    found = layout(node.domain, node.op_type, node.input)
    zero = "" if found is None or found.result.zero < 0 else node.input[found.result.zero]
    kind = types[zero].tensor_type.elem_type if zero in types else TensorProto.FLOAT
    return {name: _of(result, kind) for name, result in inferred.items()}


def _of(kind: TypeProto, element: int) -> TypeProto:
    changed = TypeProto()
    changed.CopyFrom(kind)
    changed.tensor_type.elem_type = element
    return changed
