"""Facts about a model as a file: its digest and its number of weights."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import onnx

from onnxprune.graph.layers.quantized import numbers_each, weight_slots
from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights, clear_value, is_external, stored_tensors

FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)
"""The types of weights."""

_NARROW = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.UINT4})
_SCALING = frozenset(("Mul", "Div", "Sub", "Add", "Identity", "Transpose", "Reshape"))

HALF_BYTES = frozenset({onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1})


def digest(model: onnx.ModelProto, weights: Weights = NO_WEIGHTS) -> str:
    """Return what tells this model from any other: a blake2b digest over all of it, weights included.

    Where the weights lie (in the model or in data files) does not count, and they go into the hash piece by piece.
    """
    found = hashlib.blake2b(digest_size=32)
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model)
    for tensor in stored_tensors(skeleton):
        for piece in _content(tensor, weights):
            found.update(piece)
        clear_value(tensor)
    found.update(skeleton.SerializeToString(deterministic=True))
    return found.hexdigest()


def _content(tensor: onnx.TensorProto, weights: Weights) -> Iterable[bytes | memoryview]:
    if is_external(tensor):
        return weights.chunks(tensor)
    return [tensor.raw_data if tensor.HasField("raw_data") else tensor.SerializeToString(deterministic=True)]


def file_size(path: Path, weights: Weights = NO_WEIGHTS) -> int:
    """Return the bytes of a model on disk, data files included."""
    return path.stat().st_size + sum(file.size for name, file in weights.files.items() if name != weights.own)


def element_size(kind: int) -> float:
    """Return the bytes of an element of a TensorProto.DataType; those of 4 bits share a byte."""
    return 0.5 if kind in HALF_BYTES else onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize


def count_params(model: onnx.ModelProto) -> int:
    """Return the number of weights: elements of floating-point constants, and of integers that stand for such.

    These are what quantized ops work on, and what is cast to floats and multiplied by a scale. Scales and zero points
    of quantized tensors do not count, so that quantizing a model leaves the number what it was; what nobody reads
    counts.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors.update((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")
    read: set[str] = set()
    weights: dict[str, int] = {}  # with the numbers that each element holds
    scaled: set[str] = set()  # what is made of integers by casts and scales
    for node in model.graph.node:
        read.update(node.input)
        if node.op_type == "Cast" and _is_weight_of_integers(tensors.get(node.input[0])):
            weights[node.input[0]] = 1
            scaled.add(node.output[0])
        elif node.op_type in _SCALING and scaled.intersection(node.input):
            scaled.update(node.output)
        else:
            floats = [name in tensors and tensors[name].data_type in FLOATS for name in node.input]
            slots = weight_slots(node.domain, node.op_type, node.input, floats)
            each = numbers_each(node.domain, node.op_type, {a.name: a.i for a in node.attribute})
            weights.update({node.input[slot]: each for slot in slots})
    unread = (name for name, tensor in tensors.items() if name not in read and tensor.data_type in FLOATS)
    weights.update(dict.fromkeys(unread, 1))
    return sum(math.prod(tensors[name].dims) * each for name, each in weights.items() if name in tensors)


def _is_weight_of_integers(tensor: onnx.TensorProto | None) -> bool:
    return tensor is not None and tensor.data_type in _NARROW and len(tensor.dims) > 1
