"""Statistics that take a gradient: which classes a channel matters for, and what the loss would be without it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from onnxprune.analysis.analysis import Analysis
from onnxprune.calibration.points import Point, find_points
from onnxprune.data import Dataset
from onnxprune.errors import InputError
from onnxprune.finetune.interpreter.module import GraphModule
from onnxprune.finetune.passes import answers_of, passes
from onnxprune.finetune.training.objective import Answers
from onnxprune.values.axes import FloatArray, IntArray, frozen_array
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import GRADIENT_WINS, TAYLOR, LayerStatistics, Statistics


def with_gradients(
    statistics: Statistics,
    analysis: Analysis,
    dataset: Dataset | None,
    needs: frozenset[str],
    *,
    batch_size: int = 32,
    track: Track = silent,
) -> Statistics:
    """Return the statistics with those added that take a gradient of the cross-entropy; the weights stay as they are.

    * `GRADIENT_WINS` [1, channels]: max_p sum_c sbar_c, sbar_c the share of a class's images with a * g != 0 at
      position p, a the layer's own output and g the gradient there (Jiang et al. 2024, stated).
    * `TAYLOR` [classes, channels]: mean over a class's images of |mean_p a * g|, a the layer's output as the next
      layers see it (Molchanov et al., ICLR 2017).

    Raises:
        InputError: samples without labels, a model without class scores, or one that cannot be trained through.
    """
    if dataset is None or dataset.labels is None:
        raise InputError(
            "A score by gradient needs labels; give one sub-folder per class, or y in the .npz file, or take another.",
            "no-labels",
        )
    graph = analysis.graph
    answers = answers_of(graph, dataset)
    module = GraphModule(graph).eval()
    points = find_points(analysis)
    classes = len(statistics.samples)
    wins = {point.layer: np.zeros((point.channels, point.positions)) for point in points}
    taylor = {point.layer: np.zeros((classes, point.channels)) for point in points}
    weights = 1 / np.maximum(statistics.samples, 1)
    for batch, rows, feeds in passes(module, dataset, batch_size, track, "Collecting gradients"):
        assert batch.labels is not None
        labels = batch.labels[rows]
        for layer, both in _products(module, answers, points, feeds, labels):
            own, seen = (value[: len(batch)] for value in both)
            active = (own != 0).double() * torch.from_numpy(weights[batch.labels]).reshape(-1, 1, 1)
            wins[layer] += active.sum(dim=0).numpy()
            np.add.at(taylor[layer], batch.labels, seen.mean(dim=2).abs().double().numpy())
    found = {
        point.layer: {
            GRADIENT_WINS: frozen_array(wins[point.layer].max(axis=1)[None]),
            TAYLOR: frozen_array(taylor[point.layer] * weights[:, None]),
        }
        for point in points
    }
    return replace(statistics, layers=_merged(statistics.layers, found, points, needs))


def _products(
    module: GraphModule, answers: Answers, points: Sequence[Point], feeds: Sequence[torch.Tensor], labels: IntArray
) -> Iterator[tuple[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Yield for each layer a * g of its own output and of what the next layers see, [samples, channels, positions]."""
    names = {name for point in points for name in (point.layer, point.tensor)}
    outputs, inner = module.traced(feeds, names)
    loss = functional.cross_entropy(answers.scores(outputs), torch.from_numpy(labels), reduction="sum")
    tensors = list(inner.values())
    gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
    product = {
        name: torch.zeros_like(value) if gradient is None else (value * gradient).detach()
        for name, value, gradient in zip(inner, tensors, gradients, strict=True)
    }
    samples = len(feeds[0])
    for point in points:
        own, seen = (_by_channel(product[name], point, samples) for name in (point.layer, point.tensor))
        yield point.layer, (own, seen)


def _by_channel(value: torch.Tensor, point: Point, samples: int) -> torch.Tensor:
    """Return [samples, channels, positions]; the rows of a sample follow each other on axis 0."""
    moved = value.movedim(point.axis, 1).reshape(samples, point.rows, point.channels, -1)
    return moved.transpose(1, 2).reshape(samples, point.channels, -1)


def _merged(
    layers: Mapping[str, LayerStatistics],
    found: Mapping[str, Mapping[str, FloatArray]],
    points: Sequence[Point],
    needs: frozenset[str],
) -> dict[str, LayerStatistics]:
    merged = dict(layers)
    for point in points:
        values = {name: value for name, value in found[point.layer].items() if name in needs}
        known = merged.get(point.layer) or LayerStatistics(point.layer, point.tensor, point.kind, point.positions, {})
        merged[point.layer] = replace(known, values={**known.values, **values})
    return merged
