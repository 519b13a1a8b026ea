"""Reading and replacing the weights that stand in a model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.graph.model import Graph
from onnxprune.graph.storage.weights import named_tensors


class WeightEditor:
    """The stored tensors of a copy of a model: initializers and the values of Constant nodes, by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._tensors = named_tensors(self.model.graph)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a value."""
        return onnx.numpy_helper.to_array(self._tensors[name])

    def replace(self, name: str, value: NDArray[Any]) -> None:
        """Replace a value; its type stays."""
        tensor = self._tensors[name]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        self._tensors[name].raw_data = np.ascontiguousarray(value, dtype=dtype).tobytes()
        for field in ("float_data", "double_data", "int32_data"):  # int32 holds half precision
            tensor.ClearField(field)


def sole_constant(graph: Graph, name: str) -> str | None:
    """Return the stored float tensor that a constant operand comes from, where nothing else reads it."""
    if not graph.is_leaf(name) or not graph.facts.known[name].is_constant:
        return None
    root = graph.root(name)
    if root not in named_tensors(graph.model.graph) or root in graph.outputs or name in graph.outputs:
        return None
    while name != root:
        if _reads(graph, name) != 1:
            return None
        name = graph.producers[name].inputs[0]
    known = graph.facts.known[root].first
    return root if _reads(graph, root) == 1 and known.dtype in (np.float16, np.float32, np.float64) else None


def _reads(graph: Graph, name: str) -> int:
    return sum(max(1, node.inputs.count(name)) for node in graph.readers.get(name, ()))


def kept_values(values: NDArray[Any], kept: Mapping[int, NDArray[np.bool_]]) -> NDArray[Any]:
    """Return the kept positions of an array by axis."""
    for axis, mask in kept.items():
        values = np.compress(mask, values, axis=axis)
    return values
