"""A copy of a model without its heavy weights, for shape inference and checking.

Shape inference copies and walks everything it is given; with 500 MB of weights attached that takes seconds. Weights
whose values cannot matter to a shape become typed graph inputs instead.
"""

import math

import onnx

HEAVY_ELEMENTS = 1024


def light_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` without initializers of more than 1,024 elements, which become graph inputs."""
    light = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph, source = light.graph, model.graph
    graph.name = source.name or "graph"
    graph.node.extend(source.node)
    graph.input.extend(source.input)
    named = {value.name for value in source.input}
    for tensor in source.initializer:
        if math.prod(tensor.dims) <= HEAVY_ELEMENTS:
            graph.initializer.append(tensor)
        elif tensor.name not in named:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    graph.sparse_initializer.extend(source.sparse_initializer)
    graph.output.extend(source.output)
    graph.value_info.extend(source.value_info)
    return light
