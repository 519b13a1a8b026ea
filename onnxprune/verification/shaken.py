"""Power for a check that has none: the same cut on a copy of the model with shaken weights.

Where the removed channels are dead, masking them changes nothing and equality proves nothing. Which channels live or
die together does not depend on the weights, so the cut is checked again on weights that leave no channel dead.
"""

from typing import Any

import numpy as np
import onnx

from onnxprune.analysis.analyse import Analysis
from onnxprune.graph.measures import FLOATS
from onnxprune.graph.model import Graph

STRENGTH = 0.5
"""Size of the noise, as a share of each tensor's root mean square (or of 0.1 for a tensor of zeros)."""


def shaken_model(analysis: Analysis, seed: int) -> onnx.ModelProto:
    """Return a copy of the model with noise on every weight that has a channel axis.

    Vectors (scales, shifts, variances) move upwards only, so that a variance stays positive. Integers are shaken within
    their type; scales and zero points of quantized tensors stay, because the runtime relies on how they fit together.
    """
    graph = analysis.graph
    result = onnx.ModelProto()
    result.CopyFrom(graph.model)
    rng = np.random.default_rng(seed)
    weights = _stored_weights(analysis)
    tensors = [tensor for tensor in result.graph.initializer if tensor.name in weights]
    for node in result.graph.node:
        if node.op_type == "Constant" and node.output[0] in weights:
            tensors.extend(attribute.t for attribute in node.attribute if attribute.name == "value")
    for tensor in tensors:
        value = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type in FLOATS or value.dtype.kind in "iu":
            noise = rng.standard_normal(value.shape) * STRENGTH * (_rms(value) or 0.1)
            moved = value + (np.abs(noise) if value.ndim < 2 else noise)
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(_fitted(moved, value.dtype), name))
    return result


def _fitted(value: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return `value` as this type; integers rounded and clipped to its range."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        value = np.clip(np.round(value), limits.min, limits.max)
    return value.astype(dtype)


def _stored_weights(analysis: Analysis) -> set[str]:
    graph: Graph = analysis.graph
    used = {axis.ref for axis in analysis.labelled.sizes if axis.ref.is_use}
    return {_stored(graph, ref.name) for ref in used if ref.slot in graph.weight_slots(graph.nodes[ref.node])}


def _stored(graph: Graph, name: str) -> str:
    """Follow a constant back to where it is stored, through Identity, Cast and Transpose."""
    root = graph.root(name)
    source = graph.moved(root)
    return root if source is None else _stored(graph, source[0])


def _rms(value: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(value, dtype=np.float64)))) if value.size else 0.0
