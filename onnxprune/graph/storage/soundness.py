"""Are the parts of a parsed file whole: names that are text, tensors that hold what their shapes say?

protobuf takes what it can parse. Everything behind relies on these, so they are looked at once, in front.
"""

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from onnxprune.graph.storage.subgraphs import subgraphs
from onnxprune.graph.storage.weights import is_external, stored_tensors

_UNREADABLE = (KeyError, OverflowError, TypeError, ValueError)
"""What onnx raises for tensors that it cannot turn into numbers."""


def unsound(model: onnx.ModelProto) -> str:
    """Return what is broken, as the rest of a sentence that begins with the file; '' where nothing is."""
    try:
        odd = [name for name in _names(model) if not isinstance(name, str)]  # protobuf hands out bytes then
    except UnicodeDecodeError as error:
        odd = [error.object]
    if odd:
        return f"has a name that is no text in UTF-8 ({bytes(odd[0])!r})"
    for tensor in stored_tensors(model):
        fault = _fault(tensor)
        if fault:
            return f"has a tensor {tensor.name!r} {fault}"
    return ""


def _fault(tensor: TensorProto) -> str:
    shape = list(tensor.dims)
    if min(shape, default=0) < 0:
        return f"of the impossible shape {shape}"
    if tensor.HasField("segment"):
        return "that is stored in segments, which nothing reads"
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        return f"of a type that onnx does not have ({tensor.data_type})"
    if is_external(tensor):
        return ""
    try:
        onnx.numpy_helper.to_array(tensor)
    except UnicodeDecodeError:
        return "with a string that is no text (UTF-8)"
    except _UNREADABLE:
        return f"that does not hold the values of its shape {shape} and type"
    return ""


def _names(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """Yield every name in a model."""
    yield from (entry.domain for entry in model.opset_import)
    yield from _names_in(model.graph)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
        for node in function.node:
            yield from _names_of(node)


def _names_in(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    yield graph.name
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield from (value.name, *(dim.dim_param for dim in value.type.tensor_type.shape.dim))
    yield from (tensor.name for tensor in graph.initializer)
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    for node in graph.node:
        yield from _names_of(node)


def _names_of(node: onnx.NodeProto) -> Iterator[str | bytes]:
    yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
    for attribute in node.attribute:
        yield from (attribute.name, attribute.ref_attr_name)
    for graph in subgraphs(node):
        yield from _names_in(graph)
