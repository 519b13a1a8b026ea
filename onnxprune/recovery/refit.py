"""Refit: layer after layer, weights are solved so that the pruned net's inputs make the original net's outputs.

In graph order every layer behind the cut gets the change of weight and bias that best explains, over calibration
samples, what its target still lacks: target of the original (kept channels) minus target of the pruned net, whose
earlier layers are solved already. Where the target lies behind the sum of a residual stream, the layer thereby also
makes up for what the stream itself has lost.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.graph.model import read_graph
from onnxprune.linear.layers import Layer, find_layers
from onnxprune.linear.matrix import as_matrix, from_matrix
from onnxprune.linear.patches import patches, picked, sample_rows
from onnxprune.linear.walk import Walk
from onnxprune.recovery.reach import behind, is_reached, masks_of
from onnxprune.recovery.recovery import HELD, Recovered, Recovery, Task, register
from onnxprune.recovery.ridge import best_change, new_system
from onnxprune.recovery.shifts import find_shift
from onnxprune.recovery.stored import Weights, kept_values

Array = NDArray[Any]


def refit(task: Task) -> Recovered:
    """Solve every layer behind the cut again."""
    weights = Weights(task.pruned)
    graph = read_graph(task.pruned)
    layers, skipped = find_layers(graph)
    reached = behind(task.pruned, task.masks)
    teacher, student = Walk(task.original, task.calls), Walk(weights.model, task.calls)
    rng = np.random.default_rng(task.seed)
    solved = {}
    left_alone = {name: reason for name, reason in skipped.items() if name in reached}
    for layer in layers:
        if not is_reached(layer, reached):
            continue
        rows = task.samples * min(task.positions, _places(graph.facts.shapes[0][layer.output], layer))
        groups, inputs, outputs = as_matrix(layer.node, weights[layer.weight]).shape
        fit, held = (new_system(groups, inputs, outputs, rows) for _ in range(2))
        if fit is None or held is None:
            left_alone[layer.output] = "its input is too wide"
            continue
        for x, d, images in _rows(layer, teacher, student, task, rng):
            hold = images % HELD == HELD - 1
            fit.add(x[~hold], d[~hold])
            held.add(x[hold], d[hold])
        shift = find_shift(graph, layer)
        change, left = best_change(fit, held, biased=shift is not None)
        if change is None:
            continue
        solved[layer.output] = left
        weight = weights[layer.weight]
        weights.replace(layer.weight, weight + from_matrix(layer.node, change.weight, weight.shape))
        if shift is not None:
            shift.add(weights, change.bias)
    return Recovered(weights.model, solved, left_alone)


def _places(shape: tuple[int, ...], layer: Layer) -> int:
    return int(np.prod(layer.space(shape), dtype=np.int64))


def _rows(
    layer: Layer, teacher: Walk, student: Walk, task: Task, rng: np.random.Generator
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield by call the inputs [rows, groups, inputs], the wanted changes and the number of the sample of each row."""
    groups = int(layer.node.attrs.get("group", 1))
    kept = masks_of(task.masks, layer.target)
    seen = 0
    for truth, found in zip(teacher.run([layer.target]), student.run([layer.source], [layer.target]), strict=True):
        wanted, output = kept_values(truth[layer.target], kept), found[layer.target]
        rows = sample_rows(output.shape, layer.channels, task.positions, rng)
        lack = picked(wanted, layer.channels, rows) - picked(output, layer.channels, rows)
        d = (lack / layer.slope).astype(np.float32)
        x = patches(layer.node, found[layer.source], layer.kernel, rows, layer.space(output.shape))
        yield x.astype(np.float32), d.reshape(len(d), groups, -1), seen + rows.image
        seen += len(output)


register(
    Recovery(
        name="refit",
        summary="Layer after layer, weights solved so that the pruned net's inputs make the original net's outputs.",
        run=refit,
        after="fold",
    )
)
