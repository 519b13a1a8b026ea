"""Power for a check that has none: the same cut on a copy of the model with perturbed weights.

Where the removed channels are dead, masking them changes nothing and equality proves nothing. Which channels live or
die together does not depend on the weights, so the cut is checked again on weights that leave no channel dead.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.graph.model import Graph
from onnxprune.graph.storage.measures import FLOATS
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.weights import is_external, mark_changed, named_tensors

Array = NDArray[Any]

STRENGTH = 0.5
"""Size of the noise, as a share of each tensor's root mean square (or of 0.1 for a tensor of zeros)."""


def perturbed_model(analysis: Analysis, seed: int) -> StoredModel:
    """Return a copy of the model with noise on every weight that has a channel axis, and what it refers to.

    Vectors (scales, shifts, variances) move upwards only, so that a variance stays positive. Integers are perturbed
    within their type; scales and zero points of quantized tensors stay, because the runtime relies on how they fit
    together. What lies outside the model is perturbed when it is asked for.
    """
    graph = analysis.graph
    result = onnx.ModelProto()
    result.CopyFrom(graph.model)
    names = _stored_weights(analysis)
    tensors = {name: tensor for name, tensor in named_tensors(result.graph).items() if name in names}
    changed: dict[str, Callable[[], Array]] = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        value = graph.weights.array(tensor)
        if tensor.data_type not in FLOATS and value.dtype.kind not in "iu":
            continue
        perturbed = partial(_perturbed, value, [seed, number])
        if is_external(tensor):
            mark_changed(tensor, name)
            changed[name] = perturbed
        else:
            tensor.CopyFrom(onnx.numpy_helper.from_array(perturbed(), tensor.name))
    return StoredModel(result, replace(graph.weights, changed=changed))


def _perturbed(value: Array, seed: Sequence[int]) -> Array:
    noise = np.random.default_rng(seed).standard_normal(value.shape) * STRENGTH * (_rms(value) or 0.1)
    return _fitted(np.asarray(value + (np.abs(noise) if value.ndim < 2 else noise)), value.dtype)


def _fitted(value: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return `value` as this type; integers rounded and clipped to its range."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        value = np.clip(np.round(value), limits.min, limits.max)
    return value.astype(dtype)


def _stored_weights(analysis: Analysis) -> set[str]:
    graph: Graph = analysis.graph
    used = {axis.ref for axis in analysis.sizes if axis.ref.is_use}
    return {graph.stored(ref.name) for ref in used if ref.slot in graph.weight_slots(graph.nodes[ref.node])}


def _rms(value: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(value, dtype=np.float64)))) if value.size else 0.0
