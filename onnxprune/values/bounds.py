"""The most that was lost, at a given confidence: upper ends of one-sided intervals."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

_HALVINGS = 60


def loss_bound(lost: float, gained: float, total: float, confidence: float) -> float:
    """Return the most that top-1 was lowered by, as a share, at a one-sided confidence.

    The upper end of Tango's score interval of the difference of two paired shares (Statistics in Medicine, 1998). Where
    no sample was gained it is at least the exact limit of the share that was lost (Clopper and Pearson 1934): of n
    samples without any change that is 3 / n at 95 %.

    Args:
        lost: samples that only the first model has right.
        gained: samples that only the second has right.
        total: samples that were looked at; none bound nothing.
        confidence: from 0 to 1.

    Example:
        >>> round(loss_bound(0, 0, 300, 0.95), 4)
        0.0099
    """
    if total <= 0:
        return 1.0
    z = NormalDist().inv_cdf(confidence)
    low, high = (lost - gained) / total, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _score(lost, gained, total, middle) > -z:
            low = middle
        else:
            high = middle
    return high if gained or lost >= total else max(high, float(betaincinv(lost + 1, total - lost, confidence)))


def _score(lost: float, gained: float, total: float, loss: float) -> float:
    """Return by how many standard errors what was seen is above a true `loss`."""
    spread = loss * (1 - loss)
    a, c = 2 * total, -gained * spread
    b = -lost - gained + (2 * total - lost + gained) * loss
    both = max(0.0, (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a))  # share that gains, were `loss` the truth
    variance = total * (2 * both + spread)
    return (lost - gained - total * loss) / math.sqrt(variance) if variance > 0 else math.inf


def samples_for(loss: float, confidence: float) -> int:
    """Return how many samples, none of which changed sides, show that no more than `loss` was lost."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-loss)) if 0 < loss < 1 else 0


FEWEST = 30
"""Samples from which on a ratio of sums is bounded at all."""

TIGHTER = 2.5
"""Part of the error that a ratio is bounded at, so that heavy tails leave no more than all of it."""


def ratio_bound(parts: NDArray[np.float64], wholes: NDArray[np.float64], confidence: float) -> float:
    """Return the most that the sum of `parts` is of the sum of `wholes`, [samples] each, at a one-sided confidence.

    Hall's limit for skewed data (1992) with Student's quantile, over the linearised deviations of the samples. Changes
    of outputs have heavy tails, which few samples do not show; so it is asked at a fraction of the error, and infinite
    for fewer than `FEWEST` samples.
    """
    count, whole = len(parts), float(wholes.sum())
    if not parts.any():
        return 0.0 if count >= FEWEST else math.inf
    if count < FEWEST or not whole > 0 or not np.isfinite(parts).all():
        return math.inf
    ratio = float(parts.sum()) / whole
    off = (parts - ratio * wholes) * (count / whole)
    deviation = float(off.std(ddof=1))
    if deviation == 0:
        return ratio
    skew = float(((off - off.mean()) ** 3).mean()) / deviation**3 * math.sqrt(count * (count - 1)) / (count - 2)
    quantile = float(stdtrit(count - 1, 1 - (1 - confidence) / TIGHTER))
    skewed = max(0.0, skew) * (1 + 2 * quantile**2) / (6 * math.sqrt(count))
    return ratio + deviation / math.sqrt(count) * (quantile + skewed)
