"""From a number for every channel of a layer to scores of groups that can be compared across layers."""

from collections.abc import Mapping, Sequence

import numpy as np

from onnxprune.importance.method import over_layers
from onnxprune.importance.notes import unmeasured_note
from onnxprune.values.axes import FloatArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Scores


def relative_to_mean(values: FloatArray) -> FloatArray:
    """Divide [channels] by its mean; a layer of zeros scores 1 throughout."""
    mean = values.mean()
    return np.asarray(values / mean) if mean > 0 else np.ones_like(values)


def score_by_layer(groups: Sequence[ChannelGroup], by_layer: Mapping[str, FloatArray]) -> Scores:
    """Score groups from `by_layer`: layer -> [channels of the layer], each layer relative to its own mean.

    A channel made by several layers gets the mean over them. A group none of whose layers is in `by_layer` scores 1
    throughout, and a note says so.
    """
    relative = {name: relative_to_mean(np.asarray(values, dtype=np.float64)) for name, values in by_layer.items()}
    values, unmeasured = {}, []
    for group in groups:
        score = over_layers(group, relative)
        if score is None:
            unmeasured.append(group.name)
        values[group.name] = np.ones(group.size) if score is None else score
    return Scores(values, notes=unmeasured_note(unmeasured))
