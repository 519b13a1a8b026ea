"""A model together with the weights that it only refers to."""

from typing import NamedTuple

import onnx

from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights, is_external, stored_tensors


class StoredModel(NamedTuple):
    """A model as it lies in files: its graph, and the values outside of it (data files, new values of a cut)."""

    proto: onnx.ModelProto
    weights: Weights = NO_WEIGHTS

    def inside(self) -> onnx.ModelProto:
        """Return a copy that holds all its weights itself."""
        whole = onnx.ModelProto()
        whole.CopyFrom(self.proto)
        for tensor in stored_tensors(whole):
            if is_external(tensor):
                tensor.CopyFrom(self.weights.embedded(tensor))
        return whole
