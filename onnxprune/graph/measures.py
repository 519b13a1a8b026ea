"""Facts about a model as a file: its digest and its number of weights."""

import hashlib
import math

import onnx

_FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)


def digest(model: onnx.ModelProto) -> str:
    """Return the sha256 of the model's deterministic serialization, weights included."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def count_params(model: onnx.ModelProto) -> int:
    """Return the number of elements of floating-point initializers and Constant nodes."""
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors.extend(attribute.t for attribute in node.attribute if attribute.name == "value")
    return sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type in _FLOATS)
