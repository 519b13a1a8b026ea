"""A copy of a model without its heavy weights, for shape inference and checking.

Shape inference copies and walks everything it is given; with 500 MB of weights attached that takes seconds. Weights
whose values cannot matter to a shape become typed graph inputs instead.
"""

import math

import onnx

from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights, is_external, stored_tensors, tensors_of

HEAVY_ELEMENTS = 1024


def without_heavy_initializers(model: onnx.ModelProto, weights: Weights = NO_WEIGHTS) -> onnx.ModelProto:
    """Return `model` with heavy constants (more than 1,024 elements) as graph inputs and light ones inside."""
    light = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph, source = light.graph, model.graph
    graph.name = source.name or "graph"
    graph.input.extend(source.input)
    named = {value.name for value in source.input}
    for tensor in source.initializer:
        if math.prod(tensor.dims) <= HEAVY_ELEMENTS:
            graph.initializer.append(weights.embedded(tensor))
        elif tensor.name not in named:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for node in source.node:
        heavy = _heavy_constant(node)
        if heavy is None:
            graph.node.append(node)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], heavy.data_type, heavy.dims))
    graph.sparse_initializer.extend(source.sparse_initializer)
    graph.output.extend(source.output)
    graph.value_info.extend(source.value_info)
    _embed(light, weights)
    return light


def _heavy_constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the value of a Constant node that keeps it in another file and is heavy."""
    if node.op_type != "Constant":
        return None
    values = (tensor for tensor in tensors_of(node) if is_external(tensor) and math.prod(tensor.dims) > HEAVY_ELEMENTS)
    return next(values, None)


def _embed(light: onnx.ModelProto, weights: Weights) -> None:
    """Take in what is left outside: light constants of nodes, and all of subgraphs and functions."""
    for tensor in stored_tensors(light):
        if is_external(tensor):
            tensor.CopyFrom(weights.embedded(tensor))
