"""Local functions: calls are replaced by what they compute, so that layers inside can be read and cut."""

import onnx
import onnx.inliner

_FAILURES = (RuntimeError, ValueError, TypeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError)


def inlined(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return `model` without calls of its local functions, and the names of the functions that were written out.

    Weights are not handed through the inliner. A function that it cannot write out (another opset that nothing
    converts) stays, and its calls are custom ops to the analysis. A model without functions is returned as it is.
    """
    if not model.functions:
        return model, ()
    shell = _without_weights(model)
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
