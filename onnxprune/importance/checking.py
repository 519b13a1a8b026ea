"""Scores, also from a file or a method of another package, have to fit the groups before anything is chosen by them."""

from collections.abc import Sequence

import numpy as np

from onnxprune.errors import InputError
from onnxprune.values.axes import FloatArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Scores


def check_scores(scores: Scores, groups: Sequence[ChannelGroup], source: str, *, curves: bool = False) -> None:
    """Make sure that every group has a finite score for each of its channels; `source` is who says so.

    With `curves` every group needs a value curve as well, which must not fall.

    Raises:
        InputError: something is missing, of another length, or not finite.
    """
    for group in groups:
        if group.name not in scores.values:
            raise InputError(
                f"{source} has no scores of group {group.name!r}; every prunable group needs them.", "bad-scores"
            )
        _check(scores.values[group.name], group.size, f"{source}: the scores of group {group.name!r}")
        if group.name in scores.ties:
            _check(scores.ties[group.name], group.size, f"{source}: the tie-breaks of group {group.name!r}")
        if curves:
            curve = scores.curves.get(group.name, np.zeros(0))
            _check(curve, group.size + 1, f"{source}: the value curve of group {group.name!r}")
            if (np.diff(curve) < -1e-9 * max(1.0, float(np.abs(curve).max()))).any():
                raise InputError(
                    f"{source}: the value curve of group {group.name!r} falls; more channels are never worse.",
                    "bad-scores",
                )


def _check(values: FloatArray, size: int, what: str) -> None:
    if np.shape(values) != (size,):
        raise InputError(f"{what} have shape {list(np.shape(values))}, and it takes {size} numbers.", "bad-scores")
    if not np.isfinite(values).all():
        raise InputError(f"{what} are not all finite; NaN and infinity cannot be ranked.", "bad-scores")
