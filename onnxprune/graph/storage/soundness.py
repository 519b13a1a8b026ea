"""Are the parts of a parsed file whole: names that are text, tensors that hold what their shapes say?

protobuf takes what it can parse. Everything behind relies on these, so they are looked at once, in front.
"""

from collections.abc import Iterator, Mapping

import onnx
from onnx import TensorProto

from onnxprune.graph.storage.subgraphs import subgraphs, with_inner
from onnxprune.graph.storage.weights import is_external, stored_tensors

_UNREADABLE = (KeyError, OverflowError, TypeError, ValueError)
"""What onnx raises for tensors that it cannot turn into numbers."""

_TYPES = {number: name for name, number in onnx.AttributeProto.AttributeType.items()}


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
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    for node in with_inner(model.graph.node):
        fault = _odd_attribute(node, versions)
        if fault:
            return f"has a node {node.name or node.output[0]!r} ({node.op_type}) {fault}"
    return ""


def _odd_attribute(node: onnx.NodeProto, versions: Mapping[str, int]) -> str:
    """Return what is wrong with the attributes of a node by the definition of its op, where onnx has one."""
    domain = node.domain or "ai.onnx"
    try:
        schema = onnx.defs.get_schema(node.op_type, versions.get(domain, 1), "" if domain == "ai.onnx" else domain)
    except onnx.defs.SchemaError:
        return ""
    given = {attribute.name: attribute for attribute in node.attribute}
    for name, wanted in schema.attributes.items():
        if name not in given:
            if wanted.required:
                return f"without the attribute {name!r}"
        elif not given[name].ref_attr_name and _TYPES[given[name].type] != str(wanted.type).rpartition(".")[2]:
            return f"whose attribute {name!r} is of the wrong type"
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
