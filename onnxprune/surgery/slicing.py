"""Slicing constants, piece by piece where they are large, so that nothing but the result is held in memory."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.values.axes import BoolArray

PIECE = 1 << 23
"""Bytes that are sliced at once."""


def kept_of(value: NDArray[Any], masks: Mapping[int, BoolArray]) -> NDArray[Any]:
    """Return the positions of `value` for which the mask of every axis in `masks` is True."""
    if not masks:
        return value
    if value.nbytes <= PIECE:
        return _compressed(value, masks)
    shape = [int(masks[axis].sum()) if axis in masks else size for axis, size in enumerate(value.shape)]
    result = np.empty(shape, dtype=value.dtype)
    rows = max(1, PIECE * len(value) // value.nbytes)
    done = 0
    for start in range(0, len(value), rows):
        here = {**masks, 0: masks[0][start : start + rows]} if 0 in masks else masks
        piece = _compressed(value[start : start + rows], here)
        result[done : done + len(piece)] = piece
        done += len(piece)
    return result


def _compressed(value: NDArray[Any], masks: Mapping[int, BoolArray]) -> NDArray[Any]:
    for axis, mask in masks.items():
        value = np.compress(mask, value, axis=axis)
    return value
