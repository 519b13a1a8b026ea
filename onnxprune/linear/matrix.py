"""The weight of a layer as a matrix [groups, inputs, outputs], and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.graph.model import Node, weight_layout_of

Array = NDArray[Any]


def input_axis(node: Node) -> int:
    """Return the axis of a layer's weight, a matrix or a kernel, on which its input channels lie."""
    return 1 if weight_layout_of(node).inputs == 1 else 0


def as_matrix(node: Node, weight: Array) -> Array:
    """Return the weight of a layer as [groups, inputs, outputs].

    The inputs of a group are its channels times the taps of the kernel, channels first.
    """
    layout = weight_layout_of(node)
    groups = layout.groups
    if layout.transposed:
        split = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
        return split.transpose(0, 1, 3, 2).reshape(groups, -1, weight.shape[1])
    if layout.convolves:
        return weight.reshape(groups, len(weight) // groups, -1).transpose(0, 2, 1)
    return (weight.T if input_axis(node) == 1 else weight)[None]


def from_matrix(node: Node, matrix: Array, shape: tuple[int, ...]) -> Array:
    """Return a matrix made by `as_matrix` as a weight of `shape`."""
    layout, groups = weight_layout_of(node), len(matrix)
    if layout.transposed:
        split = matrix.reshape(groups, shape[0] // groups, -1, shape[1])
        return np.ascontiguousarray(split.transpose(0, 1, 3, 2)).reshape(shape)
    if layout.convolves:
        return np.ascontiguousarray(matrix.transpose(0, 2, 1)).reshape(shape)
    return np.asarray(matrix[0].T if input_axis(node) == 1 else matrix[0])
