"""What branches that are left out made on the average, by channel, goes into a bias.

That takes a layer before the sum whose bias reaches it through nothing but scales, constants and other sums, and a sum
that nothing else sees the inputs of: linear bottlenecks (MobileNetV2) and the streams of networks that normalise first
(pre-norm transformers). Behind a Relu the mean has no place; there `refit` answers for it in the layers that follow.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnxprune.graph.model import Graph
from onnxprune.linear.layers import Layer
from onnxprune.recovery.downstream import masks_of
from onnxprune.recovery.recovery import RecoveryTask
from onnxprune.recovery.shifts import find_shift
from onnxprune.recovery.stored import WeightEditor, kept_values
from onnxprune.recovery.walks import walk
from onnxprune.values.axes import FloatArray
from onnxprune.values.branches import SUMS

NOWHERE = "nothing before it has a bias for what its branch made on the average"


def place_means(
    task: RecoveryTask, weights: WeightEditor, graphs: tuple[Graph, Graph], layers: Sequence[Layer]
) -> tuple[dict[str, float], dict[str, str]]:
    """Raise biases by the means of the branches that were left out.

    Args:
        task: what there is to recover.
        weights: of the pruned model.
        graphs: of the original and of the pruned model.
        layers: of the pruned model.

    Returns:
        By result of a sum that lost operands, the share of these operands' squares that a mean does not explain, on
        samples that judge; and why there was no place for one.
    """
    whole, graph = graphs
    nearest = {name: layer for layer in layers for name in layer.way if name in task.bypassed}
    shifts = {name: find_shift(graph, layer) for name, layer in nearest.items()}
    lost = {name: _lost(name, whole, graph) for name in sorted(task.bypassed)}
    places = {name: shift for name, shift in shifts.items() if shift is not None and lost[name]}
    reasons = {name: NOWHERE for name in sorted(task.bypassed - places.keys()) if lost[name]}
    solved = {}
    for name, (mean, left) in _means(task, whole, {name: lost[name] for name in places}, nearest):
        places[name].add(weights, mean / nearest[name].way[name])
        solved[name] = left
    return solved, reasons


def _lost(name: str, whole: Graph, graph: Graph) -> tuple[str, ...]:
    """Return the operands that a sum lost; none where it lies in a branch that is left out itself, or is no sum."""
    before, now = whole.producers[name], graph.producers.get(name)
    if before.kind not in SUMS or now is None:
        return ()
    return tuple(operand for operand in before.inputs if operand not in now.inputs)


def _means(
    task: RecoveryTask, whole: Graph, lost: Mapping[str, Sequence[str]], layers: Mapping[str, Layer]
) -> Iterator[tuple[str, tuple[FloatArray, float]]]:
    """Yield by sum the mean of what it lost, [channels], and the share of its squares left on samples that judge."""
    operands = sorted({operand for names in lost.values() for operand in names})
    if not operands:
        return
    sums: dict[str, list[FloatArray]] = {name: [] for name in lost}
    masks = {name: masks_of(task.masks, name) for name in lost}
    for found in walk(task, task.original, whole, task.memory).run(operands):
        for name, names in lost.items():
            axis = layers[name].channels
            total = np.add.reduce([found[operand].astype(np.float64) for operand in names])
            value = kept_values(total, masks[name])
            flat = np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis])
            sums[name].append(
                np.stack([np.full(flat.shape[1], len(flat)), flat.sum(axis=0), np.square(flat).sum(axis=0)])
            )
    for name, calls in sums.items():
        fit = np.sum([call for number, call in enumerate(calls) if not task.judges(number)], axis=0)
        held = np.sum([call for number, call in enumerate(calls) if task.judges(number)], axis=0)
        mean = fit[1] / fit[0]
        left = held[2] - 2 * mean * held[1] + held[0] * np.square(mean)
        yield name, (mean, float(left.sum() / max(held[2].sum(), np.finfo(np.float64).tiny)))
