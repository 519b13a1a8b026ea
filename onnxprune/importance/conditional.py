"""What a channel has that the channels which stay do not: its residual, when they predict it by least squares.

Channels are taken out one after the other. With P the inverse of the covariance of the channels that are left, the
residual of channel j has the variance 1 / P_jj, and what else varies with the channels as M (a matrix square root of
another covariance B) varies in it by || (P M)_j ||^2 / P_jj^2. P and P M follow every removal by the usual block
updates, see `elimination`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxprune.importance.elimination import System, in_turn
from onnxprune.values.axes import FloatArray, IntArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import COVARIANCES, LayerStatistics

RIDGE = 1e-3
"""Added to the variances as a multiple of their mean, so that there always is an inverse."""

Worth = Callable[[FloatArray, FloatArray], FloatArray]
"""From the variance of residuals, and what of another covariance is in them, of each channel, to their worth."""


@dataclass
class Residuals(System):
    """The channels of one layer. A channel's loss is what its residual is worth, the mean over its positions.

    Attributes:
        worth: of residuals.
    """

    worth: Worth = lambda variance, _: variance

    def losses(self, channels: IntArray) -> FloatArray:
        """Return what the residual of each of `channels` is worth, given all others that are left."""
        rows = self.inputs[channels]
        precision = np.diagonal(self.inverse)[rows]
        other = np.square(self.weight).sum(axis=1)[rows] / np.square(precision)
        return np.asarray(self.worth(1 / precision, other).mean(axis=1))


def residuals(covariance: FloatArray, positions: IntArray, worth: Worth, other: FloatArray | None = None) -> Residuals:
    """Return the channels of a layer with nothing taken out yet.

    Args:
        covariance: of all positions on the layer's channel axis, [positions, positions].
        positions: those of each channel, [channels, positions of a channel]; all others stay throughout.
        worth: of a residual.
        other: a covariance B that is looked for in the residuals, [positions, positions]; None: none.
    """
    size = len(covariance)
    ridge = RIDGE * float(np.trace(covariance)) / size or float(np.finfo(np.float32).tiny)
    precision = np.asarray(np.linalg.inv(covariance + ridge * np.eye(size)))
    found = np.zeros((size, 0)) if other is None else precision @ _root(other)
    return Residuals(precision, found, positions, worth)


def by_removal(layers: Sequence[Residuals], channels: int) -> tuple[IntArray, FloatArray]:
    """Take out the channel whose residuals are worth least over the layers, until none is left.

    Returns the order in which they go, [channels], and what each was worth then by layer on the average, in that order
    and not falling, as a channel that goes later is never rated below one that went before it.
    """
    order, worth = zip(*((gone, found) for gone, found, _ in in_turn(layers, channels)), strict=True)
    return np.concatenate(order), np.maximum.accumulate(np.concatenate(worth)) / len(layers)


def worth_by_channel(layers: Sequence[Residuals], channels: int) -> FloatArray | None:
    """Return what each channel was worth when it went, see `by_removal`, [channels]; None where there is no layer."""
    if not layers:
        return None
    order, worth = by_removal(layers, channels)
    found = np.empty(channels)
    found[order] = worth
    return found


def conditional_entropies(group: ChannelGroup, layers: Mapping[str, LayerStatistics]) -> FloatArray | None:
    """Return the entropy of each channel given its class and the channels that stay longer, in nats, [channels].

    That of a Gaussian with the variance of the residual, log(2 pi e variance) / 2; the mean over the layers that make
    the group. By the chain rule those of a layer add up to their joint entropy. None where no layer was measured.

    Args:
        group: whose channels go one after the other, the one with the least entropy first.
        layers: with `COVARIANCES`, by name.
    """
    found = [
        residuals(layers[member.axis.ref.name].values[COVARIANCES], member.positions, _entropy)
        for member in group.members
        if member.role == "produces" and member.axis.ref.name in layers
    ]
    return worth_by_channel(found, group.size)


def _entropy(variance: FloatArray, _: FloatArray) -> FloatArray:
    return np.asarray(0.5 * np.log(2 * np.pi * np.e * np.maximum(variance, np.finfo(np.float32).tiny)))


def _root(covariance: FloatArray) -> FloatArray:
    """Return M with M M' the covariance, without the directions in which it has nothing."""
    values, vectors = np.linalg.eigh(covariance)
    there = values > values.max(initial=0.0) * len(values) * np.finfo(np.float64).eps
    return np.asarray(vectors[:, there] * np.sqrt(values[there]))
