"""Refit: layer after layer, weights are solved so that the pruned net's inputs make the original net's outputs.

In graph order every layer behind the cut gets the change of weight and bias that best explains, over calibration
samples, what its target still lacks: target of the original (kept channels) minus target of the pruned net, whose
earlier layers are solved already. Where the target lies behind the sum of a residual stream, the layer thereby also
makes up for what the stream itself has lost. Where an activation that cuts values off stands behind the target, errors
that it cuts off do not count. Behind the layer that makes the scores of classes its bias is solved for their
probabilities, see `class_balance`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.graph.model import Graph, read_graph
from onnxprune.linear.layers import Layer, find_layers
from onnxprune.linear.matrix import as_matrix, from_matrix
from onnxprune.linear.patches import patches, picked, sample_rows
from onnxprune.linear.walk import Walk
from onnxprune.recovery.activation_range import (
    GAIN,
    MOST_ELEMENTS,
    MOST_PRODUCTS,
    ActivationRange,
    TargetRows,
    descend,
    find_activation_range,
)
from onnxprune.recovery.class_balance import balance, score_tensors
from onnxprune.recovery.downstream import downstream, is_reached
from onnxprune.recovery.products import wanted as wanted_of
from onnxprune.recovery.recovery import Recovered, Recovery, RecoveryTask, register
from onnxprune.recovery.ridge import Change, Moments, best_ridge, new_system
from onnxprune.recovery.shifts import find_shift
from onnxprune.recovery.stored import WeightEditor
from onnxprune.recovery.walks import walk_both

Array = NDArray[Any]


def refit(task: RecoveryTask) -> Recovered:
    """Solve every layer behind the cut again."""
    weights = WeightEditor(task.pruned)
    graph = read_graph(task.pruned)
    layers, skipped = find_layers(graph)
    reached = downstream(task.pruned, task.masks, task.bypassed)
    walks = walk_both(task, weights.model, graph)
    rng = np.random.default_rng(task.seed)
    scores = score_tensors(graph, classes=task.classes)
    solved = {}
    left_alone = {name: reason for name, reason in skipped.items() if name in reached}
    todo = [(layer,) for layer in layers if is_reached(layer, reached)]
    for (layer,) in task.track(todo, total=len(todo), what="Refitting layers"):
        matrix = as_matrix(layer.node, weights[layer.weight])
        sample = _Sample(graph, layer, matrix.shape, task)
        if not sample.fits:
            left_alone[layer.output] = "its input is too wide"
            continue
        truths = []
        for call, rows in enumerate(_rows(layer, matrix, walks, task, rng)):
            sample.add(rows, judges=task.judges(call))
            if layer.target in scores:
                truths.append(rows.truth)
        shift = find_shift(graph, layer)
        change, left = sample.solve(biased=shift is not None)
        if change is not None:
            solved[layer.output] = left
            weight = weights[layer.weight]
            weights.replace(layer.weight, weight + from_matrix(layer.node, change.weight, weight.shape))
            if shift is not None:
                shift.add(weights, change.bias)
        if layer.target in scores:
            balance(layer, graph, weights, truths, walks[1], task)
    return Recovered(weights.model, solved, left_alone)


class _Sample:
    """The rows of one layer, apart for the fit and for the choice of the ridge."""

    def __init__(self, graph: Graph, layer: Layer, matrix: tuple[int, int, int], task: RecoveryTask) -> None:
        shape = graph.facts.shapes[0][layer.output]
        groups, inputs, outputs = matrix
        rows = task.samples * min(task.positions(inputs), int(np.prod(layer.space(shape), dtype=np.int64)))
        self._fit, self._held = (new_system(groups, inputs, outputs, rows) for _ in range(2))
        self._range = find_activation_range(graph, layer.target)
        elements = rows * groups * inputs
        if elements > MOST_ELEMENTS or elements * outputs > MOST_PRODUCTS or not isinstance(self._fit, Moments):
            self._range = None
        self._kept: tuple[list[TargetRows], list[TargetRows]] = [], []

    @property
    def fits(self) -> bool:
        """Whether the layer is narrow enough to be solved."""
        return self._fit is not None and self._held is not None

    def add(self, rows: TargetRows, *, judges: bool) -> None:
        """Take the rows of a call, to fit or to judge by."""
        system = self._held if judges else self._fit
        assert system is not None
        system.add(rows.x, rows.wanted())
        if self._range is not None:
            self._kept[judges].append(rows)

    def solve(self, *, biased: bool) -> tuple[Change | None, float]:
        """Return the change, None where nothing is better, and the share of the squared error left on held rows."""
        fit, held = self._fit, self._held
        assert fit is not None
        assert held is not None
        ridge, left = best_ridge(fit, held, biased=biased)
        if ridge is None:
            return None, left
        change = fit.solve(ridge, biased=biased)
        if self._range is None or not isinstance(fit, Moments):
            return change, left
        return self._descended(fit, change, ridge, left, self._range, biased=biased)

    def _descended(
        self,
        fit: Moments,
        change: Change,
        ridge: float,
        left: float,
        interval: ActivationRange,
        *,
        biased: bool,
    ) -> tuple[Change, float]:
        """Go on from the plain solution as long as that does better on the held rows, by what the activation leaves."""
        some, others = (TargetRows.joined(parts) for parts in self._kept)
        best, error = change, others.error(change, interval)
        for further in descend(fit, some, change, ridge, interval, biased=biased):
            now, enough = others.error(further, interval), (1 - GAIN) * error
            if now < error:
                best, error = further, now
            if now > enough:
                break
        if best is change:
            return change, left
        return best, error / max(others.error(None, interval), np.finfo(np.float64).tiny)


def _rows(
    layer: Layer, matrix: Array, walks: tuple[Walk, Walk], task: RecoveryTask, rng: np.random.Generator
) -> Iterator[TargetRows]:
    """Yield the rows of a layer, whose weight is `matrix` so far, call by call.

    What the target is at these places follows from the rows and from what is added to them. Only where that is not the
    same at all places does the layer have to run.
    """
    slope, matrix = layer.slope.astype(np.float32), matrix.astype(np.float32)
    positions = task.positions(matrix.shape[1])
    teacher, student = walks
    keep = wanted_of(task.mixed, task.masks, layer.target)
    added = () if layer.beside is None else layer.beside.names
    peek = [layer.target] if layer.beside is None else []
    for truth, found in zip(teacher.run([layer.target]), student.run([layer.source, *added], peek), strict=True):
        wanted = keep(truth[layer.target])
        places = sample_rows(wanted.shape, layer.channels, positions, rng)
        x = patches(layer.node, found[layer.source], layer.kernel, places, layer.space(wanted.shape))
        x = x.astype(np.float32, copy=False)
        if layer.beside is None:
            is_now = picked(found[layer.target], layer.channels, places).astype(np.float32)
        else:
            product = (x.transpose(1, 0, 2) @ matrix).transpose(1, 0, 2).reshape(len(x), -1)
            is_now = product * slope + layer.beside.constant.astype(np.float32)
            for name, factor in layer.beside.added:
                is_now += picked(found[name], layer.channels, places).astype(np.float32) * factor.astype(np.float32)
        yield TargetRows(x, picked(wanted, layer.channels, places).astype(np.float32), is_now, slope)


register(
    Recovery(
        name="refit",
        summary="Layer after layer, weights solved so that the pruned net's inputs make the original net's outputs.",
        run=refit,
        after="fold",
    )
)
