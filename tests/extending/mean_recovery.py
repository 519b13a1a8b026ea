"""A recovery of another package: the bias of a layer takes over what its removed inputs said on average."""

import numpy as np

from onnxprune.graph.model import read_graph
from onnxprune.linear.layers import Layer, find_layers
from onnxprune.linear.matrix import as_matrix
from onnxprune.linear.walk import Walk
from onnxprune.recovery.downstream import masks_of
from onnxprune.recovery.recovery import Recovered, Recovery, RecoveryTask
from onnxprune.recovery.shifts import find_shift
from onnxprune.recovery.stored import WeightEditor
from onnxprune.values.axes import BoolArray, FloatArray


def recover(task: RecoveryTask) -> Recovered:
    """Shift every layer without groups that lost inputs and has a place for a bias."""
    weights, graph, whole = WeightEditor(task.pruned), read_graph(task.pruned), read_graph(task.original)
    before = {layer.output: layer for layer in find_layers(whole)[0]}
    walk, solved = Walk(task.original, task.calls), {}
    for layer in find_layers(graph)[0]:
        mask, shift = masks_of(task.masks, layer.source).get(layer.channels), find_shift(graph, layer)
        if mask is not None and shift is not None and layer.output in before:
            matrix = as_matrix(layer.node, whole.facts.known[before[layer.output].weight].first)
            if len(matrix) == 1:
                said = matrix.reshape(len(mask), -1, matrix.shape[2]).sum(axis=1)[~mask]
                kept = masks_of(task.masks, layer.output).get(layer.channels, np.ones(matrix.shape[2], dtype=bool))
                shift.add(weights, (_means(walk, layer, mask) @ said)[kept])
                solved[layer.output] = 1.0
    return Recovered(weights.model, solved)


def _means(walk: Walk, layer: Layer, mask: BoolArray) -> FloatArray:
    """Return the mean of every removed input over samples and places."""
    gone = [np.moveaxis(found[layer.source], layer.channels, 0)[~mask] for found in walk.run([layer.source])]
    return np.asarray(np.concatenate([each.reshape(len(each), -1) for each in gone], axis=1).mean(axis=1))


RECOVERY = Recovery("mean", "The bias takes over what the removed inputs said on average.", recover)
