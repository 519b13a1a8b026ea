"""The reconstruction loss of the consumer layers when the worst channels of a group go, however these were ranked.

A layer that reads inputs with second moments H through a weight W, and whose remaining weights are re-solved by least
squares when the inputs R go, loses tr(W_R' S W_R), S being the Schur complement of the inputs that stay. With the
inputs in the order of the ranking, best first, and H = L L', S is L_RR L_RR' for every tail R. So one factorisation
gives the losses at all widths: sums of the squares of the last rows of L' W. Comparable across layers, they tell where
channels are redundant, which scores relative to a layer cannot.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np
import scipy.linalg

from onnxprune.selection.masks import ranking
from onnxprune.values.axes import FloatArray, IntArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Consumer, Scores

MORE_RIDGES = (0.01, 0.1, 1.0)
"""Multiples of the mean variance that are tried if moments are not positive definite; after that inputs count alone."""

SMALLEST_VARIANCE = 1e-9
"""Of inputs that count alone, as a share of the largest."""


def loss_curves(
    groups: Sequence[ChannelGroup],
    scores: Scores,
    consumers: Sequence[Consumer],
    weigh: Callable[[Consumer], FloatArray] = lambda consumer: consumer.relative,
) -> dict[str, FloatArray]:
    """Return by group [channels + 1], minus the loss at which the d best channels by `scores` stay, d = 0 .. channels.

    The consumer layers of a group miss the same information by the same missing channels, so amplitudes add up.
    A group that none of `consumers` reads is given the average loss of the others. Without any there are no
    curves. `weigh` returns the weights that the errors of a consumer's outputs count by, [groups, inputs, outputs].
    """
    orders = {group.name: _order(scores, group) for group in groups}
    amplitudes: dict[str, FloatArray] = {}
    for consumer in consumers:
        read = [(group.name, member) for group in groups for member in group.members if member.axis == consumer.axis]
        if consumer.scale <= 0 or not read:
            continue
        for moments, weight in zip(consumer.damped, weigh(consumer), strict=True):
            inputs = [consumer.inputs(member.positions)[orders[name]] for name, member in read]
            for (name, _), lost in zip(read, tail_losses(moments, weight, inputs), strict=True):
                amplitudes[name] = amplitudes.get(name, 0.0) + np.sqrt(lost)
    curves = {name: np.asarray(-np.square(amplitude)) for name, amplitude in amplitudes.items()}
    return curves and {group.name: curves.get(group.name, _average(curves, group.size)) for group in groups}


def _order(scores: Scores, group: ChannelGroup) -> IntArray:
    """Return the channels, best first; where a method chooses anew at every width, by how often it takes them."""
    order = ranking(scores, group.name)
    if scores.choose is None:
        return order
    taken = np.sum([scores.choose(group.name, width) for width in range(1, group.size + 1)], axis=0)
    return np.asarray(order[np.argsort(-taken[order], kind="stable")])


def tail_losses(moments: FloatArray, weight: FloatArray, groups: Sequence[IntArray]) -> list[FloatArray]:
    """Return by group the reconstruction loss when the channels after its first d go, [d = 0 .. channels].

    For a group of some of the inputs S is the inverse of its block of inv(H), which all groups share: with that block
    K K', K upper triangular, the Schur complement is L L' with L = inv(K)'.

    Args:
        moments: of the inputs, [inputs, inputs], positive definite.
        weight: [inputs, outputs].
        groups: the inputs of each channel, [channels, inputs of a channel]; all others stay throughout.
    """
    found, precision = [], None
    for inputs in groups:
        order = inputs.ravel()
        if len(order) == len(moments):
            rows = _factor(moments[np.ix_(order, order)]).T @ weight[order]
        else:
            precision = _inverse(moments) if precision is None else precision
            worst = order[::-1]
            upper = _factor(precision[np.ix_(worst, worst)])[::-1, ::-1]
            rows = scipy.linalg.solve_triangular(upper, weight[order])
        by_channel = np.square(rows).sum(axis=1).reshape(len(inputs), -1).sum(axis=1)
        found.append(np.concatenate([np.cumsum(by_channel[::-1])[::-1], [0.0]]))
    return found


def _inverse(moments: FloatArray) -> FloatArray:
    lower, _ = scipy.linalg.lapack.dpotri(_factor(moments), lower=True)
    return np.asarray(np.tril(lower) + np.tril(lower, -1).T)


def _factor(moments: FloatArray) -> FloatArray:
    """Return the Cholesky factor, with more ridge where rounding has eaten up what there is."""
    level = float(np.trace(moments)) / len(moments)
    for ridge in (0.0, *MORE_RIDGES):
        with suppress(np.linalg.LinAlgError):
            return np.asarray(np.linalg.cholesky(moments + ridge * level * np.eye(len(moments))))
    variances = np.diag(moments)
    least = SMALLEST_VARIANCE * (float(np.abs(variances).max()) or 1.0)
    return np.asarray(np.diag(np.sqrt(np.maximum(variances, least))))


def _average(curves: Mapping[str, FloatArray], size: int) -> FloatArray:
    """Return the mean of `curves` by the share of the channels that stay, at the widths of a group of `size`."""
    share = np.linspace(0.0, 1.0, size + 1)
    alike = [np.interp(share, np.linspace(0.0, 1.0, len(curve)), curve) for curve in curves.values()]
    return np.asarray(np.mean(alike, axis=0))
