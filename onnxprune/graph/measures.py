"""Facts about a model as a file: its digest and its number of weights."""

import hashlib
import math

import onnx

from onnxprune.graph.light import light_copy

FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)
"""The types of weights."""


def digest(model: onnx.ModelProto) -> str:
    """Return what tells this model from any other: a blake2b digest over all of it, weights included.

    Heavy weights go into the hash one by one, so that no second copy of the whole model is made.
    """
    found = hashlib.blake2b(light_copy(model).SerializeToString(deterministic=True), digest_size=32)
    for entry in sorted(f"{p.key}={p.value}" for p in model.metadata_props):
        found.update(entry.encode())
    for tensor in model.graph.initializer:
        found.update(tensor.name.encode())
        found.update(tensor.raw_data if tensor.HasField("raw_data") else tensor.SerializeToString(deterministic=True))
    return found.hexdigest()


def count_params(model: onnx.ModelProto) -> int:
    """Return the number of elements of floating-point initializers and Constant nodes."""
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors.extend(attribute.t for attribute in node.attribute if attribute.name == "value")
    return sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type in FLOATS)
