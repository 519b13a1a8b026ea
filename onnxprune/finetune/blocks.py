"""The ends of blocks at which a network follows another one that it was pruned from, channel by channel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.values.axes import IntArray

Array = NDArray[Any]

Kept = tuple[int, IntArray]
"""An axis of the teacher's tensor, and the positions on it that the student has."""


def kept_channels(student: Array, teacher: Array) -> Kept | None:
    """Return which channels of a teacher's tensor a student's has, by what they say of the same samples.

    A channel of the student is the one of the teacher's that it goes along with most, in the teacher's order.

    Args:
        student: [samples, ...], one axis narrower than the teacher's, or none.
        teacher: of the same samples.

    Returns:
        An axis, and the positions on it (all of axis 1, where none is narrower); None: the student's channels are not
        some of the teacher's in their order.
    """
    if student.ndim != teacher.ndim or student.ndim < 2 or len(student) != len(teacher):
        return None
    narrower = [
        axis for axis, (own, other) in enumerate(zip(student.shape, teacher.shape, strict=True)) if own != other
    ]
    if not narrower:
        return 1, np.arange(teacher.shape[1])
    axis = narrower[0]
    if len(narrower) > 1 or axis == 0 or student.shape[axis] > teacher.shape[axis]:
        return None
    one, other = (_rows(value, axis) for value in (student, teacher))
    found = np.argmax(one.T @ other, axis=1)
    return (axis, found) if (np.diff(found) > 0).all() else None


def _rows(value: Array, axis: int) -> Array:
    """Return the channels of a tensor as columns of mean 0 and length 1."""
    flat = np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis]).astype(np.float64)
    flat = flat - flat.mean(axis=0)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=0), np.finfo(np.float64).tiny))
