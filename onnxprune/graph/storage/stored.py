"""A model together with the weights that it only refers to."""

from typing import NamedTuple

import onnx

from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights


class StoredModel(NamedTuple):
    """A model as it lies in files: its graph, and the values outside of it (data files, new values of a cut)."""

    proto: onnx.ModelProto
    weights: Weights = NO_WEIGHTS
