"""Trained values back into the file that they came from; what did not change stays byte for byte as it was."""

import numpy as np
import onnx
import torch

from onnxprune.finetune.interpreter.module import GraphModule
from onnxprune.finetune.interpreter.running import running_statistics
from onnxprune.graph.model import Graph
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.weights import Array, is_external, mark_changed, named_tensors


def trained_model(graph: Graph, module: GraphModule) -> StoredModel:
    """Return a copy of the model with the parameters and running statistics of `module`, in the types of the file.

    New values of what lies outside the model are in the weights that are returned with it.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    state = module.state_dict()
    running = [found for found in running_statistics(graph) if found.name in module.running]
    sources = {**{name: name for name in module.trained()}, **{found.name: found.source for found in running}}
    new = {}
    for name, source in sources.items():
        old = np.asarray(graph.facts.known[source].first)
        value = _array(state[name]).astype(old.dtype, copy=False)
        if value.tobytes() != old.tobytes():
            new[name] = value
    for found in running:
        if found.name in new and not found.own:
            model.graph.node[found.node].input[found.slot] = found.name
            model.graph.initializer.append(onnx.numpy_helper.from_array(new.pop(found.name), found.name))
    stored = named_tensors(model.graph)
    outside: dict[str, Array] = {}
    for name, value in new.items():
        tensor = stored[name]
        if is_external(tensor):
            mark_changed(tensor, name)
            outside[name] = value
            continue
        tensor.raw_data = np.ascontiguousarray(value).tobytes()
        for field in ("float_data", "double_data", "int32_data"):
            tensor.ClearField(field)
    return StoredModel(model, graph.weights.with_changed(outside))


def _array(value: torch.Tensor) -> Array:
    value = value.detach().cpu()
    return value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
