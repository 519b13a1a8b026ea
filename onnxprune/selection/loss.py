"""What the next layers lose when the worst channels of a group go, however these were ranked.

A layer that reads inputs with second moments H through a weight W, and whose remaining weights are re-solved by least
squares when the inputs R go, loses tr(W_R' S W_R), S being the Schur complement of the inputs that stay. With the
inputs in the order of the ranking, best first, and H = L L', S is L_RR L_RR' for every tail R. So one factorisation
gives the losses at all widths: sums of the squares of the last rows of L' W. Comparable across layers, they tell where
channels are redundant, which scores relative to a layer cannot.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from onnxprune.selection.masks import ranking
from onnxprune.values.axes import FloatArray, IntArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Consumer, Scores

MORE_RIDGES = (0.01, 0.1, 1.0)
"""Multiples of the mean variance that are tried if moments are not positive definite; after that inputs count alone."""


def loss_curves(groups: Sequence[ChannelGroup], scores: Scores, consumers: Sequence[Consumer]) -> dict[str, FloatArray]:
    """Return by group [channels + 1], minus the loss at which the d best channels by `scores` stay, d = 0 .. channels.

    What the layers that read a group lose by the same missing channels is the same information, so amplitudes add up.
    A group that none of `consumers` reads is taken to lose as the others do on the average. Without any there are no
    curves.
    """
    orders = {group.name: _order(scores, group) for group in groups}
    amplitudes: dict[str, FloatArray] = {}
    for consumer in consumers:
        read = [(group.name, member) for group in groups for member in group.members if member.axis == consumer.axis]
        if consumer.scale <= 0 or not read:
            continue
        for moments, weight in zip(consumer.damped, consumer.relative, strict=True):
            for name, member in read:
                lost = tail_losses(moments, weight, consumer.inputs(member.positions)[orders[name]])
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


def tail_losses(moments: FloatArray, weight: FloatArray, inputs: IntArray) -> FloatArray:
    """Return what is lost when the channels behind the first d go, for d = 0 .. channels: [channels + 1].

    Args:
        moments: of the inputs, [inputs, inputs], positive definite.
        weight: [inputs, outputs].
        inputs: the inputs of each channel, [channels, inputs of a channel]; the others stay throughout.
    """
    channels = inputs.ravel()
    others = np.setdiff1d(np.arange(len(moments)), channels)
    order = np.concatenate([others, channels])
    factor = _factor(moments[np.ix_(order, order)])
    rows = np.square(factor.T @ weight[order])[len(others) :].sum(axis=1)
    by_channel = rows.reshape(len(inputs), -1).sum(axis=1)
    return np.concatenate([np.cumsum(by_channel[::-1])[::-1], [0.0]])


def _factor(moments: FloatArray) -> FloatArray:
    """Return the Cholesky factor, with more ridge where rounding has eaten up what there is."""
    level = float(np.trace(moments)) / len(moments)
    for ridge in (0.0, *MORE_RIDGES):
        with suppress(np.linalg.LinAlgError):
            return np.asarray(np.linalg.cholesky(moments + ridge * level * np.eye(len(moments))))
    return np.asarray(np.diag(np.sqrt(np.maximum(np.diag(moments), 0.0))))


def _average(curves: Mapping[str, FloatArray], size: int) -> FloatArray:
    """Return the mean of `curves` by the share of the channels that stay, at the widths of a group of `size`."""
    share = np.linspace(0.0, 1.0, size + 1)
    alike = [np.interp(share, np.linspace(0.0, 1.0, len(curve)), curve) for curve in curves.values()]
    return np.asarray(np.mean(alike, axis=0))
