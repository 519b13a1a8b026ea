"""Read a .onnx file, or say in one sentence why it cannot be read."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # the one name of protobuf that onnx does not re-export

from onnxprune.errors import InputError


def load_model(path: Path | str) -> onnx.ModelProto:
    """Return the model in `path`, its weights included.

    Raises:
        InputError: no such file, not an ONNX model, a truncated one, or one without nodes or outputs.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a model; name the .onnx file inside it.")
    if not path.exists():
        raise InputError(f"No such model: {path}; check the path.")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise InputError(
            f"{path} is not a readable ONNX model (not a model at all, or cut short); export or copy it again."
        ) from None
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise InputError(f"{path} holds no ONNX graph (no nodes, outputs or opset); export it again.")
    _load_external(model, path)
    _refuse_duplicates(model, path)
    return model


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    """Read weights kept in files beside the model into it; files outside the model's folder are refused by onnx."""
    if not any(onnx.external_data_helper.uses_external_data(tensor) for tensor in _tensors(model.graph)):
        return
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise InputError(
            f"The external weights of {path} cannot be read ({str(error).splitlines()[0]}); "
            "put the data files beside the model."
        ) from None


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor that is stored in a graph: initializers, attributes of nodes, and those of subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(inner)


def _refuse_duplicates(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a tensor with two origins. Initializers may be graph inputs as well: those are their defaults."""
    stored = [tensor.name for tensor in model.graph.initializer]
    fed = {value.name for value in model.graph.input} - set(stored)
    made = [name for node in model.graph.node for name in node.output if name]
    seen: set[str] = set()
    for name in (*stored, *fed, *made):
        if name in seen:
            raise InputError(f"{path} defines tensor {name!r} twice; a valid graph names every tensor once.")
        seen.add(name)
