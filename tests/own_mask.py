"""Masks that nothing of the project puts in place: what the random nets are compared with.

The project says which positions of which tensors go. That a network without them is one in which they are zero wherever
something adds up over them is what the ops are defined to do, and is written down here a second time.
"""

from collections.abc import Mapping

import numpy as np
import onnx

from onnxprune.values.axes import Axis, BoolArray, Ref

SUMMED = {"Conv": {0: 1}, "ConvTranspose": {0: 1}, "MatMul": {0: -1, 1: -2}}
"""By op the axis of each input that is added up over, of the ops of the random nets."""


def own_masked(model: onnx.ModelProto, masks: Mapping[Axis, BoolArray]) -> onnx.ModelProto:
    """Return a copy of the model with zeros at positions that are not kept, in front of all that adds up over them."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    del copy.graph.node[:]
    ranks = _ranks(model)
    for index, node in enumerate(model.graph.node):
        put = copy.graph.node.add()
        put.CopyFrom(node)
        made = []
        for slot, axis in SUMMED.get(node.op_type, {}).items():
            name = node.input[slot]
            dim = axis % ranks[name]
            mask = masks.get(Axis(Ref(name), dim), masks.get(Axis(Ref(name, index, slot), dim)))
            if mask is not None:
                put.input[slot] = f"own_{index}_{slot}"
                zeros = f"zeros_{index}_{slot}"
                shape = [-1 if each == dim else 1 for each in range(ranks[name])]
                value = mask.reshape(shape).astype(np.float32)
                copy.graph.initializer.append(onnx.numpy_helper.from_array(value, zeros))
                made.append(onnx.helper.make_node("Mul", [name, zeros], [put.input[slot]]))
        if made:
            del copy.graph.node[-1]
            copy.graph.node.extend([*made, put])
    return copy


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Return the ranks of all tensors."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    return ranks | {tensor.name: len(tensor.dims) for tensor in graph.initializer}
