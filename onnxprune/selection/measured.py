"""From what was measured at a few widths of a group to a curve over all of them."""

from collections.abc import Mapping

import numpy as np

from onnxprune.values.axes import FloatArray

SHARES = (0.9, 0.75, 0.5, 0.25, 0.1)
"""Shares of a group's channels at which it is measured."""

MOST = 1e3
"""A change above this, or none that is a number, is as bad as any."""


def measured_counts(size: int) -> tuple[int, ...]:
    """Return the widths, below its own, at which a group of `size` channels is measured."""
    counts = {max(1, round(share * size)) for share in SHARES}
    return tuple(sorted(counts - {size}, reverse=True))


def measured_curve(size: int, changes: Mapping[int, float]) -> FloatArray:
    """Return [size + 1], minus the squared change of the outputs at every width.

    Squares add up over groups as far as what they do to the outputs has nothing to do with each other. In between
    changes are interpolated, and no width is better than a wider one.

    Args:
        size: channels of the group.
        changes: the relative change of the outputs by width.
    """
    known = {size: 0.0, **{count: min(change, MOST) if change == change else MOST for count, change in changes.items()}}
    counts = sorted(known)
    rising = np.maximum.accumulate([known[count] for count in reversed(counts)])[::-1]
    found = np.interp(np.arange(size + 1), counts, rising)
    found[: counts[0]] = rising[0] * 2  # nothing was measured there
    return np.asarray(-np.square(found))
