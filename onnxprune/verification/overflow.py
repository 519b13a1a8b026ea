"""8-bit weights that no kernel sums up wrongly.

On x86 processors without VNNI onnxruntime adds two products of uint8 and int8 in 16 bits, which overflow where weights
use all 8 bits: what comes out depends on which two stand side by side, and a cut changes that. With half of every
weight nothing overflows. Which channels go is the same, so cut and mask still have to agree in every bit.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.graph.layers.quantized import layout
from onnxprune.graph.layers.weight_layout import WEIGHTED
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.weights import Weights, is_external, mark_changed, named_tensors

Array = NDArray[Any]

_HANDING_ON = frozenset(("DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Transpose"))
"""What may lie between a weight as it is stored and the product."""


def with_half_weights(model: onnx.ModelProto, weights: Weights) -> StoredModel:
    """Return a copy of the model in which int8 weights of products, and floats that become such, are halved.

    A model without them is returned as it is.
    """
    names = _multiplied(model)
    if not names:
        return StoredModel(model, weights)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    tensors = named_tensors(result.graph)
    changed: dict[str, Array | Callable[[], Array]] = dict(weights.changed)
    for name in names:
        tensor = tensors[name]
        half = partial(_half, weights, onnx.TensorProto.FromString(tensor.SerializeToString()))
        if is_external(tensor):
            key = f"{name}/half"
            mark_changed(tensor, key)
            changed[key] = half
        else:
            tensor.CopyFrom(onnx.numpy_helper.from_array(half(), tensor.name))
    return StoredModel(result, replace(weights, changed=changed))


def _multiplied(model: onnx.ModelProto) -> list[str]:
    """Return the stored int8 weights of products, and the stored floats that become such."""
    tensors = named_tensors(model.graph)
    makers = {name: node for node in model.graph.node for name in node.output}
    rounded = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    found: dict[str, None] = {}
    for node in model.graph.node:
        known = layout(node.domain, node.op_type, node.input)
        if (known.float_op if known else node.op_type) not in WEIGHTED:
            continue
        for slot, name in enumerate(node.input):
            if known is not None and slot not in known.slots:
                continue
            while name in makers and makers[name].op_type in _HANDING_ON:
                name = makers[name].input[0]
            tensor = tensors.get(name)
            is_matrix = tensor is not None and len(tensor.dims) > 1
            if is_matrix and (tensors[name].data_type == onnx.TensorProto.INT8 or name in rounded):
                found[name] = None
    return list(found)


def _half(weights: Weights, tensor: onnx.TensorProto) -> Array:
    value = weights.array(tensor)
    return np.right_shift(value, 1) if value.dtype.kind == "i" else (value / 2).astype(value.dtype)
