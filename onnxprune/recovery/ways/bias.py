"""Bias: every kept channel gets back the mean and the spread that it had before the cut.

In graph order, over all places of the calibration samples: the weights that make a channel are scaled by the ratio of
the two standard deviations (within limits), and its bias makes up for the difference of the means that is left. This is
what estimating the statistics of a normalisation anew does, written into the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxprune.graph.model import read_graph
from onnxprune.linear.layers import Layer, find_layers
from onnxprune.linear.matrix import as_matrix, from_matrix
from onnxprune.linear.walk import Walk
from onnxprune.recovery.downstream import downstream, is_reached, masks_of
from onnxprune.recovery.recovery import Recovered, Recovery, RecoveryTask, register
from onnxprune.recovery.shifts import find_shift
from onnxprune.recovery.stored import WeightEditor, kept_values
from onnxprune.recovery.walks import walk_both
from onnxprune.values.axes import FloatArray

NARROWEST, WIDEST = 0.5, 2.0
"""Least and greatest factor of a channel's weights; beyond, the spread is chance or another channel's."""


@dataclass(frozen=True, eq=False)
class _Spread:
    """Mean and standard deviation by channel, of the pruned and of the original network's output of a layer."""

    mean: FloatArray
    deviation: FloatArray


def bias(task: RecoveryTask) -> Recovered:
    """Match the moments of every layer behind the cut."""
    weights = WeightEditor(task.pruned)
    graph = read_graph(task.pruned)
    layers, skipped = find_layers(graph)
    reached = downstream(task.pruned, task.masks, task.bypassed)
    teacher, student = walk_both(task, weights.model, graph)
    solved, left_alone = {}, {name: reason for name, reason in skipped.items() if name in reached}
    for layer in layers:
        if not is_reached(layer, reached):
            continue
        shift = find_shift(graph, layer)
        own = layer.bias is not None
        if own and shift is None:
            left_alone[layer.output] = "its bias is shared, computed or not one number a channel"
            continue
        was, now = _spreads(layer, teacher, student, task)
        scale = np.clip(was.deviation / np.maximum(now.deviation, np.finfo(np.float64).tiny), NARROWEST, WIDEST)
        scale[now.deviation <= 1e-6 * (np.abs(now.mean) + now.deviation)] = 1.0
        if not (np.isfinite(scale).all() and np.isfinite(was.mean).all() and np.isfinite(now.mean).all()):
            left_alone[layer.output] = "its outputs are not finite"
            continue
        weight = weights[layer.weight]
        matrix = as_matrix(layer.node, weight)
        weights.replace(layer.weight, from_matrix(layer.node, matrix * scale.reshape(len(matrix), 1, -1), weight.shape))
        if shift is not None:
            if own:
                value = weights[shift.tensor]
                weights.replace(shift.tensor, value * scale.reshape(value.shape))
            shift.add(weights, was.mean - scale * now.mean)
        solved[layer.output] = float(np.mean(np.square(scale * now.deviation - was.deviation)))
    return Recovered(weights.model, solved, left_alone)


def _spreads(layer: Layer, teacher: Walk, student: Walk, task: RecoveryTask) -> tuple[_Spread, _Spread]:
    kept = masks_of(task.masks, layer.output)
    both = zip(teacher.run([layer.output]), student.run([layer.source], [layer.output]), strict=True)
    pairs = [
        (_sums(kept_values(truth[layer.output], kept), layer), _sums(found[layer.output], layer))
        for call, (truth, found) in enumerate(both)
        if not task.judges(call)
    ]
    return _spread(pair[0] for pair in pairs), _spread(pair[1] for pair in pairs)


def _sums(output: FloatArray, layer: Layer) -> FloatArray:
    """Return number, sum and sum of squares about nothing by channel, [3, channels]."""
    flat = np.moveaxis(output, layer.channels, -1).reshape(-1, output.shape[layer.channels]).astype(np.float64)
    return np.stack(
        [np.full(flat.shape[1], len(flat), dtype=np.float64), flat.sum(axis=0), np.square(flat).sum(axis=0)]
    )


def _spread(sums: Iterator[FloatArray]) -> _Spread:
    count, total, squares = np.sum(list(sums), axis=0)
    mean = total / count
    return _Spread(mean, np.sqrt(np.maximum(0.0, squares / count - np.square(mean))))


register(
    Recovery(
        name="bias",
        summary="Every kept channel gets back the mean and the spread that it had before the cut.",
        run=bias,
    )
)
