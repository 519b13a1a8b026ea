"""Models of one layer of a network, at widths that are asked for: to time it by itself. Its weights are all alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxprune.graph.model import Graph, Node, weight_layout_of

DATA, WEIGHT, BIAS = "x", "w", "b"
VALUE = 0.01
"""Of all weights: neither zero, which a kernel might skip, nor so small that products underflow."""

KERNELS: Mapping[str, tuple[str, ...]] = {
    "Conv": ("Conv", "FusedConv", "NhwcFusedConv"),
    "ConvTranspose": ("ConvTranspose",),
    "Gemm": ("Gemm", "FusedGemm"),
    "MatMul": ("MatMul", "FusedMatMul", "Gemm"),
}
"""By op what the runtime may make of it."""


@dataclass(frozen=True)
class SingleLayer:
    """A layer that can be had at other widths.

    Attributes:
        node: in the network.
        weight: the shape of its weight.
        data: the shape of what it reads, for one sample.
        bias: whether it adds one.
        opset: of the network.
    """

    node: Node
    weight: tuple[int, ...]
    data: tuple[int, ...]
    bias: bool
    opset: int

    @property
    def key(self) -> tuple[Any, ...]:
        """What layers of the same time have in common."""
        attributes = tuple(sorted((name, repr(value)) for name, value in self.node.attrs.items()))
        return self.node.op, attributes, self.weight, self.data, self.bias


def single_layer(graph: Graph, node: Node) -> SingleLayer | None:
    """Return a node as a layer of its own; None where it is none that this module can make."""
    if node.op not in KERNELS or node.domain or len(node.inputs) < 2:
        return None
    data, weight = node.inputs[:2]
    known, pair = graph.facts.known.get(weight), graph.facts.shape_pair(data)
    if known is None or not known.is_constant or graph.is_leaf(data) or pair is None:
        return None
    if known.first.dtype != np.float32 or known.first.ndim < 2 or (node.op == "MatMul" and known.first.ndim != 2):
        return None
    shape = tuple(known.first.shape)
    biased = weight_layout_of(node).bias_of(node.inputs) is not None
    layer = SingleLayer(node, shape, tuple(pair[0]), biased, node.version)
    return layer if _data_shape(layer, shape) == layer.data and 0 not in layer.data else None


def layer_model(layer: SingleLayer, weight: Sequence[int]) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Return a model of the layer with a weight of this shape, and the shape of its input `DATA`."""
    data = _data_shape(layer, weight)
    inputs = [DATA, WEIGHT, *([BIAS] if layer.bias else [])]
    node = helper.make_node(layer.node.op, inputs, ["y"], **_attributes(layer, weight))
    shapes = {WEIGHT: tuple(weight), **({BIAS: (_outputs(layer, weight),)} if layer.bias else {})}
    filled = helper.make_tensor("value", TensorProto.FLOAT, [1], [VALUE])
    constants = [helper.make_node("ConstantOfShape", [f"{name}_shape"], [name], value=filled) for name in shapes]
    graph = helper.make_graph(
        [*constants, node],
        "layer",
        [helper.make_tensor_value_info(DATA, TensorProto.FLOAT, data)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(data))],
        [helper.make_tensor(f"{name}_shape", TensorProto.INT64, [len(shape)], shape) for name, shape in shapes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", layer.opset)], ir_version=8), data


def _group(layer: SingleLayer, weight: Sequence[int]) -> int:
    """Return the number of groups of a convolution with a weight of this shape."""
    layout = weight_layout_of(layer.node)
    depthwise = 1 < layout.groups == layout.input_channels(layer.weight)
    return weight[0] * layer.data[1] // layer.weight[0] if depthwise else layout.groups


def _data_shape(layer: SingleLayer, weight: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of what a weight of this shape is for."""
    layout, data = weight_layout_of(layer.node), list(layer.data)
    data[layout.data_axis] = layout.input_channels(weight, _group(layer, weight))
    return tuple(data)


def _outputs(layer: SingleLayer, weight: Sequence[int]) -> int:
    return weight_layout_of(layer.node).output_channels(weight, _group(layer, weight))


def _attributes(layer: SingleLayer, weight: Sequence[int]) -> dict[str, Any]:
    found = dict(layer.node.attrs)
    if "group" in found:
        found["group"] = _group(layer, weight)
    found.pop("output_shape", None)
    return found


def probe(width: int, other: int, size: int, opset: int, *, inputs: bool) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Return a 3x3 convolution of images of `size` with `width` outputs (or `inputs`) and `other` channels beside."""
    node = Node(0, "Conv", "", "probe", (DATA, WEIGHT), ("y",), {"kernel_shape": [3, 3], "pads": [1] * 4}, opset)
    weight = (other, width, 3, 3) if inputs else (width, other, 3, 3)
    return layer_model(SingleLayer(node, weight, (1, weight[1], size, size), bias=False, opset=opset), weight)
