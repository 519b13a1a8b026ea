"""Layers that onnxruntime's optimiser has fused with their activations, as layer and activation again.

FusedConv and FusedGemm are Conv and Gemm to everything that scores, cuts, recovers and trains layers. onnxruntime fuses
them again whenever it loads a model. What it writes for one machine alone is refused: blocked layouts hold weights in
an order that no standard op reads.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx

from onnxprune.errors import InputError
from onnxprune.graph.layers.quantized import MICROSOFT
from onnxprune.graph.shapes.propagate import captured_names

_BLOCKED = ("com.microsoft.nchwc", "com.ms.internal.nhwc")
_CLIP_BY_INPUTS = 11
_LAYERS = {"FusedConv": "Conv", "FusedGemm": "Gemm"}

# The attributes of each activation in the order of `activation_params`.
_ACTIVATIONS: Mapping[str, Sequence[str]] = {
    "Clip": ("min", "max"), "Elu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "LeakyRelu": ("alpha",), "Relu": (),
    "Sigmoid": (), "Softplus": (), "Softsign": (), "Tanh": (), "ThresholdedRelu": ("alpha",),
}  # fmt: skip


def unfused(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """Return `model` with fused layers written out, and how many there were; without any, the model as it is.

    A layer with an activation that is not known stays as it is.

    Raises:
        InputError: the model holds layouts that are bound to one kind of machine.
    """
    blocked = next((node for node in model.graph.node if node.domain in _BLOCKED), None)
    if blocked is not None:
        raise InputError(
            f"Node '{blocked.name or blocked.output[0]}' ({blocked.op_type}) has a memory layout that onnxruntime made "
            "for one kind of machine: prune the file that this was made from.",
            "unsupported-model",
        )
    fused = {index for index, node in enumerate(model.graph.node) if _is_fused(node)}
    if not fused:
        return model, 0
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    names = _Names(model.graph)
    for index, node in enumerate(model.graph.node):
        result.graph.node.extend(_written_out(node, result, names) if index in fused else [node])
    return result, len(fused)


class _Names:
    """The names of all tensors, and new ones."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.taken = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        for node in graph.node:
            self.taken.update((*node.input, *node.output, *captured_names(node)))

    def new(self, base: str) -> str:
        """Return a name that nothing has."""
        name, number = base, 1
        while name in self.taken:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name


def _is_fused(node: onnx.NodeProto) -> bool:
    if node.domain != MICROSOFT or node.op_type not in _LAYERS:
        return False
    activation = _attributes(node).get("activation", b"").decode()
    return activation in ("", *_ACTIVATIONS)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _written_out(node: onnx.NodeProto, model: onnx.ModelProto, names: _Names) -> Iterator[onnx.NodeProto]:
    """Yield layer, sum and activation; constants that these take are added to the model."""
    attributes = _attributes(node)
    activation = attributes.get("activation", b"").decode()
    summed = node.input[3] if node.op_type == "FusedConv" and len(node.input) > 3 else ""
    result = node.output[0]
    layer = onnx.NodeProto.FromString(node.SerializeToString())
    layer.op_type, layer.domain = _LAYERS[node.op_type], ""
    kept = [attribute for attribute in node.attribute if not attribute.name.startswith("activation")]
    del layer.attribute[:], layer.input[3:]
    layer.attribute.extend(kept)
    while layer.input and not layer.input[-1]:
        del layer.input[-1]
    made = result if not (activation or summed) else names.new(f"{result}/{layer.op_type}")
    layer.output[0] = made
    yield layer
    if summed:
        total = result if not activation else names.new(f"{result}/Add")
        yield onnx.helper.make_node("Add", [made, summed], [total], f"{node.name or result}/Add")
        made = total
    if activation:
        yield _activation(node, activation, made, model, names)


def _activation(
    node: onnx.NodeProto, activation: str, source: str, model: onnx.ModelProto, names: _Names
) -> onnx.NodeProto:
    attributes, result = _attributes(node), node.output[0]
    name = f"{node.name or result}/{activation}"
    given = [float(value) for value in attributes.get("activation_params", ())]
    bounds: list[str] = []
    if activation == "Clip" and _opset(model) >= _CLIP_BY_INPUTS:
        for end, value in zip(("min", "max"), given, strict=False):
            bounds.append(names.new(f"{result}/{end}"))
            model.graph.initializer.append(onnx.helper.make_tensor(bounds[-1], _type(node, model), (), [value]))
        return onnx.helper.make_node("Clip", [source, *bounds], [result], name)
    keys = _ACTIVATIONS[activation]
    own = {key: f"activation_{key}" for key in keys}
    settings: dict[str, Any] = {key: attributes[long] for key, long in own.items() if long in attributes}
    settings.update(zip(keys, given, strict=False))
    return onnx.helper.make_node(activation, [source], [result], name, **settings)


def _type(node: onnx.NodeProto, model: onnx.ModelProto) -> int:
    """Return the element type that a layer works in: that of its weight or bias, where one is stored."""
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return next((types[name] for name in node.input[1:3] if name in types), onnx.TensorProto.FLOAT)


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
