"""Backward elimination by the reconstruction loss of the consumer layers: what they make up for best goes first.

Optimal brain surgeon on whole channels. A layer with weight W that reads inputs with second moments H loses
tr(W_c' (inv(H)_cc)^-1 W_c) when channel c goes (the block of its taps) and the remaining weights are re-solved by least
squares; inv(H) and W follow every removal by the usual block updates. Losses count relative to the standard deviation
of the tensor in which the error of the layer shows, and add up over all consumer layers of a group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxprune.importance.method import Method, register
from onnxprune.importance.notes import unmeasured_note
from onnxprune.values.axes import FloatArray, IntArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import MOMENTS, Consumer, Scores, Statistics

MOST_STEPS = 256
"""Removals per group; wider groups lose several channels at a time."""


_WORTH_DROPPING = 0.75
"""A system with no more than this share of its inputs left is made smaller."""


@dataclass
class _System:
    """One group of one reading layer: inverse moments, weight, and which inputs belong to each channel."""

    inverse: FloatArray
    weight: FloatArray
    inputs: IntArray

    def __post_init__(self) -> None:
        """Begin with all inputs."""
        self._left = np.ones(len(self.weight), dtype=bool)

    def losses(self, channels: IntArray) -> FloatArray:
        """Return what the removal of each of `channels` costs by itself."""
        rows = self.inputs[channels]
        if rows.shape[1] == 1:
            rows = rows[:, 0]
            return np.asarray(np.square(self.weight).sum(axis=1)[rows] / self.inverse[rows, rows])
        blocks = self.inverse[rows[:, :, None], rows[:, None, :]]
        weights = self.weight[rows]
        return np.asarray((weights * np.linalg.solve(blocks, weights)).sum(axis=(1, 2)))

    def remove(self, channels: IntArray) -> float:
        """Take channels out, re-solving the rest, and return what that costs."""
        rows = self.inputs[channels].ravel()
        columns = self.inverse[:, rows]
        block, weights = columns[rows], self.weight[rows]
        solved = np.linalg.solve(block, np.concatenate([weights, columns.T], axis=1))
        outputs = weights.shape[1]
        lost = float((weights * solved[:, :outputs]).sum())
        self.weight -= columns @ solved[:, :outputs]
        self.inverse -= columns @ solved[:, outputs:]
        self._left[rows] = False
        if np.count_nonzero(self._left) <= _WORTH_DROPPING * len(self._left):
            self._drop_removed()
        return lost

    def _drop_removed(self) -> None:
        left = np.flatnonzero(self._left)
        self.inputs = (np.cumsum(self._left) - 1)[self.inputs]  # of channels that are gone: of no meaning
        self.inverse, self.weight = self.inverse[np.ix_(left, left)], self.weight[left]
        self._left = np.ones(len(left), dtype=bool)


def eliminate(systems: Sequence[_System], channels: int) -> tuple[IntArray, FloatArray]:
    """Remove channels one after the other, cheapest first.

    Returns the channels in the order of removal, [channels], and the reconstruction loss after each, [channels].
    The layers miss the same information by the same missing channels, so the amplitudes of their losses add up, not
    their squares: a channel of a residual stream is missed by every block alike.
    """
    alive = np.arange(channels)
    order: list[int] = []
    lost: list[float] = []
    totals, step = np.zeros(len(systems)), max(1, channels // MOST_STEPS)
    while len(alive) > 1:
        losses = np.sum([system.losses(alive) for system in systems], axis=0)
        gone = alive[np.argsort(losses, kind="stable")[: min(step, len(alive) - 1)]]
        before = _together(totals)
        totals += [system.remove(gone) for system in systems]
        order += gone.tolist()
        lost += np.linspace(before, _together(totals), len(gone) + 1)[1:].tolist()
        alive = np.setdiff1d(alive, gone)
    totals += [float(system.losses(alive).sum()) for system in systems]
    return np.asarray([*order, *alive], dtype=np.int64), np.asarray([*lost, _together(totals)])


def _together(losses: FloatArray) -> float:
    """Return the square of the sum of amplitudes; rounding may have left a loss below nothing."""
    return float(np.square(np.sqrt(np.maximum(losses, 0.0)).sum()))


def reconstruction_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by the loss at which a channel would go.

    A group that no layer sums over (the head dimensions of a product of activations) is ranked by nothing: all equal.
    """
    values, unmeasured = {}, []
    for group in groups:
        systems = _systems(group, statistics.consumers)
        if not systems:
            unmeasured.append(group.name)
            values[group.name] = np.ones(group.size)
            continue
        order, lost = eliminate(systems, group.size)
        marginal = np.diff(lost, prepend=0.0)
        score = np.empty(group.size)
        # A channel removed later never scores below one removed before it: the ranking is the order of removal.
        score[order] = np.maximum.accumulate(marginal) * (1 + 1e-9 * np.arange(group.size))
        values[group.name] = score
    return Scores(values, notes=unmeasured_note(unmeasured))


def _systems(group: ChannelGroup, consumers: Sequence[Consumer]) -> list[_System]:
    found = []
    by_axis = {consumer.axis: consumer for consumer in consumers}
    for member in group.members:
        consumer = by_axis.get(member.axis)
        if consumer is None or consumer.scale <= 0:
            continue
        inputs = consumer.inputs(member.positions)
        for moments, weight in zip(consumer.damped, consumer.relative, strict=True):
            found.append(_System(np.linalg.inv(moments), weight.copy(), inputs))
    return found


register(
    Method(
        name="reconstruction",
        summary="The reconstruction loss of the consumer layers that make up for the channel by least squares.",
        formula="s_c = tr(W_c' (inv(H)_cc)^-1 W_c), H the covariance of what these read; greedy, backward",
        source="our own, after optimal brain surgeon (Hassibi & Stork 1993) on whole channels",
        cost="one pass over the data, all inputs of the readers leave the runtime; cubic in the inputs of a layer",
        needs=lambda options: frozenset({MOMENTS}),
        score=reconstruction_scores,
    )
)
