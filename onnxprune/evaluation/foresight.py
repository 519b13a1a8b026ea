"""Foreseeing how many samples change sides, from few samples that nothing was fitted to.

Counting right and wrong on a hundred samples tells a point from noise badly. Margins tell more: how a cut moves the
margin of the true class is seen on every sample, also where nothing changes sides. The margins of the original are
known on all calibration samples, whatever the cut was fitted to; so what is foreseen is what the moves that were seen
on the few would do to the margins of all. It chooses plans, and proves nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.evaluation.top1 import Predictions

Margins = NDArray[np.float64]

FEWEST = 8
"""Samples from which on it is looked at whether large margins move by more than small ones."""


@dataclass(frozen=True)
class Foreseen:
    """Shares of the samples that only the original, or only the cut model, will have right."""

    lost: float
    gained: float


def foresee(original: Margins, before: Predictions, after: Predictions) -> Foreseen:
    """Foresee what a cut does to samples like those of the calibration data.

    A margin m becomes a m + b + e: a and b by least squares over the samples of `before` and `after`, e any of what
    that leaves there.

    Args:
        original: margins of the original on all calibration samples, (n,).
        before: what the original says of the samples that judge.
        after: what the cut model says of them; nothing of it was fitted to these.
    """
    assert before.margin is not None
    assert after.margin is not None
    finite = np.isfinite(before.margin) & np.isfinite(after.margin)
    old, new = before.margin[finite], after.margin[finite]
    if not len(old):
        return Foreseen(1.0, 0.0)
    slope, shift = np.polyfit(old, new, 1) if len(old) >= FEWEST and np.ptp(old) > 0 else (1.0, 0.0)
    left = np.sort(new - slope * old - shift)
    moved = slope * original + shift
    # of each sample, the share of the moves that leave its margin at or below 0
    wrong = np.searchsorted(left, -moved, side="right") / len(left)
    right = original > 0
    return Foreseen(float(np.where(right, wrong, 0.0).mean()), float(np.where(right, 0.0, 1 - wrong).mean()))
