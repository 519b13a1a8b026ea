"""Backward elimination by what the class probabilities lose: the reconstruction loss, weighed by Fisher information.

An error e of the tensor in which a reading layer's errors show moves the probabilities of the classes by
KL = e' F e / 2 to second order, F = E[g g'] being the Fisher information there: g is the gradient of the log-likelihood
of an answer that is drawn from the model's own probabilities. With weights W F^(1/2) the losses of `elimination` are in
nats, of all layers alike, and errors that leave every probability alone are free. Inputs and gradients count as
independent, as in K-FAC (Martens & Grosse 2015). Widths follow half from these losses.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.importance.elimination import elimination_scores
from onnxprune.importance.method import Method, register
from onnxprune.values.axes import FloatArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import FISHER, MOMENTS, Consumer, Scores, Statistics


def fisher_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by what the class probabilities lose when a channel goes, in nats."""
    return elimination_scores(groups, statistics.consumers, weighed)


def weighed(consumer: Consumer) -> FloatArray:
    """Return W F^(1/2) of a reading layer, [groups, inputs, outputs].

    Where taps are not told apart they are among the outputs, and every tap has the same F.
    """
    assert consumer.fisher is not None
    found = []
    for matrix, fisher in zip(consumer.matrix, consumer.fisher, strict=True):
        values, vectors = np.linalg.eigh(fisher)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        found.append((matrix.reshape(len(matrix), -1, len(fisher)) @ root).reshape(len(matrix), -1))
    return np.asarray(found)


def half_weighed(consumer: Consumer) -> FloatArray:
    """Return the weights by which widths follow, [groups, inputs, 2 outputs]: half as ever, half as `weighed`.

    Both halves lose as much where all inputs go, so that the probabilities say which widths a layer is content with,
    and not how much it counts beside others, which harms (docs/decisions/0031).
    """
    plain, by_class = consumer.relative, weighed(consumer)
    whole, of_classes = _loss_of_all(consumer, plain), _loss_of_all(consumer, by_class)
    if of_classes <= 0:
        return plain
    return np.asarray(np.sqrt(0.5) * np.concatenate([plain, np.sqrt(whole / of_classes) * by_class], axis=2))


def _loss_of_all(consumer: Consumer, weights: FloatArray) -> float:
    """Return the loss where all inputs go, tr(W' H W)."""
    return float(np.einsum("gio,gij,gjo->", weights, consumer.damped, weights, optimize=True))


register(
    Method(
        name="fisher",
        summary="What the class probabilities lose without the channel, its readers re-solved.",
        formula="s_c = tr(F W_c' (inv(H)_cc)^-1 W_c), F = E[g g'], g the gradient of sampled answers; greedy, backward",
        source="our own: reconstruction, with the other half of K-FAC (Martens & Grosse 2015, arXiv 1503.05671)",
        cost="as reconstruction, and a pass forwards and backwards over the data; needs torch, no labels",
        needs=lambda options: frozenset({MOMENTS, FISHER}),
        score=fisher_scores,
        widths=half_weighed,
    )
)
