"""Backward elimination: of the channels that are left, the one whose absence its readers make up for best goes next.

Optimal brain surgeon on whole channels. A layer with weight W that reads inputs with second moments H loses
tr(W_c' (inv(H)_cc)^-1 W_c) when channel c goes (the block of its taps) and the remaining weights are re-solved by least
squares; inv(H) and W follow every removal by the usual block updates.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from onnxprune.importance.notes import unmeasured_note
from onnxprune.values.axes import FloatArray, IntArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Consumer, Scores

MOST_STEPS = 256
"""Removals per group; wider groups lose several channels at a time."""


_WORTH_DROPPING = 0.75
"""A system with no more than this share of its inputs left is made smaller."""

Weigh = Callable[[Consumer], FloatArray]
"""From a reading layer to its weight, in units in which its errors count: [groups, inputs, outputs]."""


@dataclass
class System:
    """One group of one reading layer: inverse moments, weight, and which inputs belong to each channel."""

    inverse: FloatArray
    weight: FloatArray
    inputs: IntArray

    def __post_init__(self) -> None:
        """Begin with all inputs, in matrices that can be changed where they lie."""
        self.inverse, self.weight = (np.ascontiguousarray(matrix) for matrix in (self.inverse, self.weight))
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
        _subtract_product(self.weight, columns, solved[:, :outputs])
        _subtract_product(self.inverse, columns, solved[:, outputs:])
        self._left[rows] = False
        if np.count_nonzero(self._left) <= _WORTH_DROPPING * len(self._left):
            self._drop_removed()
        return lost

    def _drop_removed(self) -> None:
        left = np.flatnonzero(self._left)
        self.inputs = (np.cumsum(self._left) - 1)[self.inputs]  # of channels that are gone: of no meaning
        self.inverse = np.ascontiguousarray(self.inverse[np.ix_(left, left)])
        self.weight = np.ascontiguousarray(self.weight[left])
        self._left = np.ones(len(left), dtype=bool)


def eliminate(systems: Sequence[System], channels: int, most: int = MOST_STEPS) -> tuple[IntArray, FloatArray]:
    """Remove channels one after the other, cheapest first, in no more than about `most` steps.

    Returns the channels in the order of removal, [channels], and the reconstruction loss after each, [channels].
    The layers miss the same information by the same missing channels, so the amplitudes of their losses add up, not
    their squares: a channel of a residual stream is missed by every block alike.
    """
    order: list[int] = []
    lost: list[float] = []
    totals = np.zeros(len(systems))
    for gone, _, costs in in_turn(systems, channels, most):
        before = _together(totals)
        totals += costs
        order += gone.tolist()
        lost += np.linspace(before, _together(totals), len(gone) + 1)[1:].tolist()
    return np.asarray(order, dtype=np.int64), np.asarray(lost)


def in_turn(
    systems: Sequence[System], channels: int, most: int = MOST_STEPS
) -> Iterator[tuple[IntArray, FloatArray, FloatArray]]:
    """Remove channels from all systems one after the other, those with the least sum of losses first.

    Wide groups lose several at a time. Yields the channels that went, [gone]; the sum of the losses of each as it
    went, [gone]; and what their removal cost each system, [systems].
    """
    alive, step = np.arange(channels), max(1, channels // most)
    while len(alive):
        losses = np.sum([system.losses(alive) for system in systems], axis=0)
        first = np.argsort(losses, kind="stable")[: min(step, max(1, len(alive) - 1))]
        gone = alive[first]
        yield gone, losses[first], np.asarray([system.remove(gone) for system in systems])
        alive = np.setdiff1d(alive, gone)


def _subtract_product(target: FloatArray, one: FloatArray, other: FloatArray) -> None:
    """Subtract one @ other from a matrix where it lies: a fifth of the time of a new one where layers are wide."""
    if target.size:  # BLAS counts columns first, so that it gets all of them transposed
        scipy.linalg.blas.dgemm(-1.0, other.T, one.T, 1.0, target.T, overwrite_c=True)


def _together(losses: FloatArray) -> float:
    """Return the square of the sum of amplitudes; rounding may have left a loss below nothing."""
    return float(np.square(np.sqrt(np.maximum(losses, 0.0)).sum()))


def elimination_scores(groups: Sequence[ChannelGroup], consumers: Sequence[Consumer], weigh: Weigh) -> Scores:
    """Score all groups by the loss at which a channel would go.

    A group that no layer sums over (the head dimensions of a product of activations) is ranked by nothing: all equal.
    """
    values, unmeasured = {}, []
    for group in groups:
        systems = _systems(group, consumers, weigh)
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


def _systems(group: ChannelGroup, consumers: Sequence[Consumer], weigh: Weigh) -> list[System]:
    found = []
    by_axis = {consumer.axis: consumer for consumer in consumers}
    for member in group.members:
        consumer = by_axis.get(member.axis)
        if consumer is None or consumer.scale <= 0:
            continue
        inputs = consumer.inputs(member.positions)
        for moments, weight in zip(consumer.damped, weigh(consumer), strict=True):
            found.append(System(np.linalg.inv(moments), weight.copy(), inputs))
    return found
