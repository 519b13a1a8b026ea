"""Facts about a model as a file: its digest and its number of weights."""

import hashlib
import math

import onnx

from onnxprune.graph.light import light_copy
from onnxprune.graph.quantized import weight_slots

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
    """Return the number of weights: elements of floating-point constants, and of integers that quantized ops work on.

    Scales and zero points of quantized tensors do not count, so that quantizing a model leaves the number what it was;
    what nobody reads counts.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors.update((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")
    read: set[str] = set()
    weights: set[str] = set()
    for node in model.graph.node:
        floats = [name in tensors and tensors[name].data_type in FLOATS for name in node.input]
        weights.update(node.input[slot] for slot in weight_slots(node.domain, node.op_type, node.input, floats))
        read.update(node.input)
    weights.update(name for name, tensor in tensors.items() if name not in read and tensor.data_type in FLOATS)
    return sum(math.prod(tensors[name].dims) for name in weights & tensors.keys())
