"""Fold: what a removed channel would have said is said by the kept ones, in the weights of the layers that read it.

Over calibration samples of the ORIGINAL network, x_removed ~ M x_kept + m at every place of a map, by ridge regression.
A layer that summed W_r x_r then takes W_k + W_r M in place of W_k at every tap of its kernel, and W_r m goes into its
bias. A group of a grouped convolution sees its own channels alone, so M stays within the group; a depthwise layer has
one channel a group, and nothing to fold into.

Where a product of two activations lost terms, one of the layers that make its sides takes them over first, see
`products`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.graph.model import Graph, read_graph
from onnxprune.linear.layers import Layer, find_layers
from onnxprune.linear.matrix import as_matrix, from_matrix
from onnxprune.linear.patches import picked, sample_rows
from onnxprune.linear.walk import Walk
from onnxprune.recovery.downstream import masks_of
from onnxprune.recovery.recovery import Recovered, Recovery, RecoveryTask, register
from onnxprune.recovery.ridge import Change, System, best_change, new_system
from onnxprune.recovery.shifts import find_shift
from onnxprune.recovery.stored import WeightEditor
from onnxprune.recovery.walks import walk
from onnxprune.values.axes import BoolArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Group:
    """One group of a consumer: its input channels by place in the source, and the outputs that are kept."""

    number: int
    kept: NDArray[np.intp]
    removed: NDArray[np.intp]
    outputs: NDArray[np.intp]
    first: int


class _UnfoldableError(Exception):
    """Why nothing is folded into a layer."""


def fold(task: RecoveryTask) -> Recovered:
    """Fold the removed inputs of every layer into the kept ones."""
    weights = WeightEditor(task.pruned)
    graph, whole = read_graph(task.pruned), read_graph(task.original)
    before = {layer.output: layer for layer in find_layers(whole)[0]}
    layers, reasons = find_layers(graph)
    teacher = walk(task, task.original, whole, task.memory)
    rng = np.random.default_rng(task.seed)
    solved, skipped = {}, {}
    matrices = {layer.output: _mix(layer, before, task, weights, (whole, graph)) for layer in layers}
    masks = {layer.output: masks_of(task.masks, layer.source).get(layer.channels) for layer in layers}
    todo = [(layer,) for layer in layers if masks[layer.output] is not None and layer.output in before]
    for (layer,) in task.track(todo, total=len(todo), what="Folding layers"):
        mask = masks[layer.output]
        assert mask is not None
        try:
            solved[layer.output] = _fold_into(
                layer, before[layer.output], mask, task, weights, (whole, graph), teacher, rng, matrices[layer.output]
            )
        except _UnfoldableError as reason:
            skipped[layer.output] = str(reason)
    reading = {node.outputs[0] for node in graph.nodes if node.inputs and masks_of(task.masks, node.inputs[0])}
    skipped.update({name: reason for name, reason in reasons.items() if name in reading})
    return Recovered(weights.model, solved, skipped)


def _fold_into(  # noqa: PLR0913 (one layer, and what all layers share)
    layer: Layer,
    before: Layer,
    mask: BoolArray,
    task: RecoveryTask,
    weights: WeightEditor,
    graphs: tuple[Graph, Graph],
    walk: Walk,
    rng: np.random.Generator,
    mixed: Array | None,
) -> float:
    """Fold into one layer; returns the share of the removed channels' squared values left on held-out samples."""
    whole, graph = graphs
    matrix = as_matrix(before.node, whole.facts.known[before.weight].first) if mixed is None else mixed
    groups = _groups(mask, masks_of(task.masks, layer.output).get(layer.channels), matrix)
    slim = as_matrix(layer.node, weights[layer.weight])
    taps = matrix.shape[1] // (len(mask) // len(matrix))
    if len(groups) != len(slim) or any(
        slim.shape[1:] != (len(group.kept) * taps, len(group.outputs)) for group in groups
    ):
        raise _UnfoldableError("its groups were cut in a way that none of them is left as it was")
    if all(not len(group.removed) for group in groups):
        raise _UnfoldableError("none of its groups has both removed and kept inputs")
    shift = find_shift(graph, layer)
    changes, left = _relations(groups, before, task, walk, rng, biased=shift is not None)
    delta = np.zeros(slim.shape)
    bias = np.zeros((len(slim), slim.shape[2]))
    for number, (group, change) in enumerate(zip(groups, changes, strict=True)):
        if change is not None:
            split = matrix[group.number].reshape(-1, taps, matrix.shape[2])[group.removed - group.first]
            gone = split[:, :, group.outputs].astype(np.float64)
            delta[number] = np.einsum("kr,rto->kto", change.weight[0], gone).reshape(slim.shape[1:])
            bias[number] = np.einsum("r,rto->o", change.bias[0], gone)
    weight = weights[layer.weight]
    weights.replace(layer.weight, weight + from_matrix(layer.node, delta, weight.shape))
    if shift is not None:
        shift.add(weights, bias)
    return left


def _mix(
    layer: Layer, before: Mapping[str, Layer], task: RecoveryTask, weights: WeightEditor, graphs: tuple[Graph, Graph]
) -> Array | None:
    """Give a layer that takes over terms of a product its weights; return the original's matrix with them, or None."""
    whole, graph = graphs
    mixed, first = task.mixed.get(layer.output), before.get(layer.output)
    if mixed is None or first is None:
        return None
    matrix = as_matrix(first.node, whole.facts.known[first.weight].first).astype(np.float64)
    kept = np.asarray(masks_of(task.masks, layer.output)[layer.channels])
    if len(matrix) != 1:
        return None
    matrix[0][:, kept] = matrix[0] @ mixed.matrix
    inputs = masks_of(task.masks, layer.source).get(layer.channels)
    taps = 1 if inputs is None else matrix.shape[1] // len(inputs)
    rows = np.s_[:] if inputs is None else np.repeat(inputs, taps)
    weight = weights[layer.weight]
    weights.replace(layer.weight, from_matrix(layer.node, matrix[:, rows][:, :, kept], weight.shape))
    shift, known = find_shift(graph, layer), whole.facts.known
    if shift is not None and shift.tensor in known and known[shift.tensor].first.size == len(kept):
        bias = known[shift.tensor].first.astype(np.float64).ravel() @ mixed.matrix
        weights.replace(shift.tensor, bias.reshape(weights[shift.tensor].shape))
    return matrix


def _groups(mask: BoolArray, out_mask: BoolArray | None, matrix: Array) -> list[_Group]:
    """Return the groups of the original layer that are left, in order."""
    count, _, outputs = matrix.shape
    each = len(mask) // count
    kept_outputs = np.ones(count * outputs, dtype=bool) if out_mask is None else out_mask
    found = []
    for number in range(count):
        inside = mask[number * each : (number + 1) * each]
        left = np.flatnonzero(kept_outputs[number * outputs : (number + 1) * outputs])
        if inside.any() and len(left):
            first = number * each
            found.append(_Group(number, first + np.flatnonzero(inside), first + np.flatnonzero(~inside), left, first))
    return found


def _relations(
    groups: list[_Group], layer: Layer, task: RecoveryTask, walk: Walk, rng: np.random.Generator, *, biased: bool
) -> tuple[list[Change | None], float]:
    """Return by group how its removed channels follow from the kept ones, and the share of their squares left."""
    positions = task.positions(max((len(group.kept) for group in groups), default=1))
    systems: dict[int, tuple[System, System]] = {}
    for number, group in enumerate(groups):
        if len(group.removed):
            most = task.samples * positions
            fit, held = (new_system(1, len(group.kept), len(group.removed), most) for _ in range(2))
            if fit is None or held is None:
                raise _UnfoldableError("its input is too wide")
            systems[number] = fit, held
    for call, found in enumerate(walk.run([layer.source])):
        source = found[layer.source]
        rows = sample_rows(source.shape, layer.channels, positions, rng)
        values = picked(source, layer.channels, rows).astype(np.float32)
        for number, pair in systems.items():
            pair[task.judges(call)].add(values[:, None, groups[number].kept], values[:, None, groups[number].removed])
    changes: list[Change | None] = [None] * len(groups)
    wanted = left = 0.0
    for number, (fit, held) in systems.items():
        share = held.wanted
        changes[number], rest = best_change(fit, held, biased=biased)
        wanted, left = wanted + share, left + rest * share
    return changes, left / wanted if wanted else 0.0


register(
    Recovery(
        name="fold",
        summary="What the removed channels have in common with the kept ones goes into the weights that read these.",
        run=fold,
    )
)
