"""Local functions: calls are replaced by what they compute, so that layers inside can be read and cut."""

from collections.abc import Iterable, Iterator

import onnx
import onnx.inliner

from onnxprune.errors import InputError
from onnxprune.graph.storage.subgraphs import with_inner

_FAILURES = (RuntimeError, ValueError, TypeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError)

MAX_NODES = 250_000
"""Nodes that a model with local functions may have once these are written out: calls of calls double quickly."""

MAX_DEPTH = 500
"""Calls within calls."""

_Function = tuple[str, str]  # domain, name


def inlined(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return `model` without calls of its local functions, and the names of the functions that were written out.

    Weights are not handed through the inliner. A function that it cannot write out (another opset that nothing
    converts, calls of itself) stays, and its calls are custom ops to the analysis. A model without functions is
    returned as it is.

    Raises:
        InputError: written out, the functions make too many nodes, or they call each other too deeply.
    """
    if not model.functions:
        return model, ()
    if not _refuse_sprawl(model):
        return model, ()
    shell = _without_weights(model)
    _give_defaults(shell)
    for convert in (True, False):
        try:
            flat = onnx.inliner.inline_local_functions(shell, convert_version=convert)
            break
        except _FAILURES:
            continue
    else:
        return model, ()
    left = {_name(function) for function in flat.functions}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.functions[:], result.opset_import[:], result.graph.node[:]
    result.functions.extend(flat.functions)
    result.opset_import.extend(flat.opset_import)
    result.graph.node.extend(flat.graph.node)
    known = {value.name for value in (*shell.graph.input, *shell.graph.output, *shell.graph.value_info)}
    result.graph.value_info.extend(value for value in flat.graph.value_info if value.name not in known)
    return result, tuple(name for name in map(_name, model.functions) if name not in left)


def _name(function: onnx.FunctionProto) -> str:
    return f"{function.domain}.{function.name}"


def _refuse_sprawl(model: onnx.ModelProto) -> bool:
    """Refuse what would become too large; return whether the functions can be written out at all: none calls itself.

    Raises:
        InputError: there would be too many nodes, or calls lie too deeply within each other.
    """
    bodies = {(function.domain, function.name): list(_kinds(function.node)) for function in model.functions}
    nodes: dict[_Function, int] = {}
    depth: dict[_Function, int] = {}
    left = dict(bodies)
    while left:  # a function can be counted when all that it calls have been
        ready = [name for name, body in left.items() if not any(kind in left for kind in body)]
        if not ready:
            return False
        for name in ready:
            body = left.pop(name)
            nodes[name] = sum(nodes.get(kind, 1) for kind in body)
            depth[name] = 1 + max((depth.get(kind, 0) for kind in body), default=0)
    calls = list(_kinds(model.graph.node))
    count, deepest = sum(nodes.get(kind, 1) for kind in calls), max((depth.get(kind, 0) for kind in calls), default=0)
    if count > MAX_NODES or deepest > MAX_DEPTH:
        what = f"{count} nodes" if count > MAX_NODES else f"calls {deepest} deep"
        allowed = f"{MAX_NODES} nodes" if count > MAX_NODES else f"{MAX_DEPTH}"
        raise InputError(
            f"Written out, the local functions of the model make {what}, more than the {allowed} that are read; "
            "export it without functions.",
            "model-too-large",
        )
    return True


def _give_defaults(model: onnx.ModelProto) -> None:
    """Write into every call what it leaves out and its function has a default for, as the inliner does not."""
    defaults = {(function.domain, function.name): function.attribute_proto for function in model.functions}

    def complete(nodes: Iterable[onnx.NodeProto]) -> None:
        for node in with_inner(nodes):
            given = {attribute.name for attribute in node.attribute}
            for attribute in defaults.get((node.domain, node.op_type), ()):
                if attribute.name not in given:
                    node.attribute.append(attribute)

    complete(model.graph.node)
    for function in model.functions:
        complete(function.node)


def _kinds(nodes: Iterable[onnx.NodeProto]) -> Iterator[_Function]:
    """Return domain and op of nodes and of those in their subgraphs."""
    return ((node.domain, node.op_type) for node in with_inner(nodes))


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which every initializer is a graph input."""
    shell = onnx.ModelProto(ir_version=model.ir_version)
    shell.opset_import.extend(model.opset_import)
    shell.functions.extend(model.functions)
    shell.graph.name = model.graph.name or "graph"
    for field in ("node", "input", "output", "value_info"):
        getattr(shell.graph, field).extend(getattr(model.graph, field))
    listed = {value.name for value in model.graph.input}
    shell.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
        if tensor.name not in listed
    )
    return shell
