"""Fisher information of the class probabilities in the tensors in which errors of reading layers show."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from onnxprune.analysis.analysis import Analysis
from onnxprune.data import Dataset
from onnxprune.finetune.interpreter.module import GraphModule
from onnxprune.finetune.passes import answers_of, passes
from onnxprune.finetune.training.objective import Answers
from onnxprune.linear.layers import Layer, find_layers
from onnxprune.linear.patches import picked, sample_rows
from onnxprune.values.axes import FloatArray, frozen_array
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import Statistics

POSITIONS = 256
"""Most positions of a map at which gradients are looked at."""


def with_fisher(
    statistics: Statistics,
    analysis: Analysis,
    dataset: Dataset,
    *,
    batch_size: int = 32,
    seed: int = 0,
    track: Track = silent,
) -> Statistics:
    """Return the statistics with the Fisher information of every consumer, [groups, outputs, outputs].

    It is sum_p E[g_p g_p'] over the positions p of a map and the mean over the samples, g_p the gradient of log p(y) in
    the tensor in which the layer's error shows, and y drawn from the model's own probabilities for the sample, one
    draw each. Of a subtask these are the probabilities among its classes. No labels are used.

    Raises:
        InputError: a model whose class scores are not known, or one that cannot be differentiated.
    """
    graph = analysis.graph
    answers = answers_of(graph, dataset)
    if not statistics.consumers:
        return statistics
    module = GraphModule(graph).eval()
    layers = {layer.output: layer for layer in find_layers(graph, solvable=False)[0]}
    readers = {consumer.layer: layers[consumer.layer] for consumer in statistics.consumers}
    targets = {layer.target: layer for layer in readers.values()}
    sums = {name: np.zeros((len(layer.slope), len(layer.slope))) for name, layer in targets.items()}
    rng, chance = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    for batch, _, feeds in passes(module, dataset, batch_size, track, "Collecting Fisher information"):
        for name, gradient in _gradients(module, answers, feeds, targets, chance, len(batch)).items():
            sums[name] += _products(targets[name], gradient, rng)
    consumers = (
        replace(consumer, fisher=_by_group(sums[readers[consumer.layer].target] / len(dataset), len(consumer.matrix)))
        for consumer in statistics.consumers
    )
    return replace(statistics, consumers=tuple(consumers))


def _gradients(
    module: GraphModule,
    answers: Answers,
    feeds: Sequence[torch.Tensor],
    targets: dict[str, Layer],
    chance: torch.Generator,
    samples: int,
) -> dict[str, FloatArray]:
    """Return by tensor the gradients of the log-likelihood of drawn answers, of the first `samples` samples."""
    outputs, tensors = module.traced(feeds, targets)
    scores = answers.scores(outputs)
    drawn = torch.multinomial(scores.detach().softmax(dim=1), 1, generator=chance)[:, 0]
    loss = functional.cross_entropy(scores[:samples], drawn[:samples], reduction="sum")
    found = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
    return {
        name: gradient.double().numpy() for name, gradient in zip(tensors, found, strict=True) if gradient is not None
    }


def _products(layer: Layer, gradient: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the sum of g g' over all positions, [channels, channels], from some of them where there are many."""
    places = sample_rows(gradient.shape, layer.channels, POSITIONS, rng)
    rows = picked(gradient, layer.channels, places)
    return np.asarray(rows.T @ rows * (gradient.size / rows.size))


def _by_group(whole: FloatArray, groups: int) -> FloatArray:
    """Return the blocks of [channels, channels] along its diagonal, [groups, channels of a group, the same]."""
    width = len(whole) // groups
    blocks = whole.reshape(groups, width, groups, width)
    return frozen_array(np.stack([blocks[group, :, group] for group in range(groups)]))
