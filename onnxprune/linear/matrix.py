"""The weight of a layer as a matrix [groups, inputs, outputs], and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.graph.model import Node

Array = NDArray[Any]


def input_axis(node: Node) -> int:
    """Return the axis of a layer's weight on which its input channels lie."""
    if node.op == "Conv" or (node.op == "Gemm" and node.attrs.get("transB", 0)):
        return 1
    return 0


def as_matrix(node: Node, weight: Array) -> Array:
    """Return the weight of a Conv, ConvTranspose, Gemm or MatMul as [groups, inputs, outputs].

    The inputs of a group are its channels times the taps of the kernel, channels first.
    """
    groups = int(node.attrs.get("group", 1))
    if node.op == "Conv":
        return weight.reshape(groups, len(weight) // groups, -1).transpose(0, 2, 1)
    if node.op == "ConvTranspose":
        split = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
        return split.transpose(0, 1, 3, 2).reshape(groups, -1, weight.shape[1])
    return (weight.T if input_axis(node) == 1 else weight)[None]


def from_matrix(node: Node, matrix: Array, shape: tuple[int, ...]) -> Array:
    """Return a matrix made by `as_matrix` as a weight of `shape`."""
    groups = len(matrix)
    if node.op == "Conv":
        return np.ascontiguousarray(matrix.transpose(0, 2, 1)).reshape(shape)
    if node.op == "ConvTranspose":
        split = matrix.reshape(groups, shape[0] // groups, -1, shape[1])
        return np.ascontiguousarray(split.transpose(0, 1, 3, 2)).reshape(shape)
    return np.asarray(matrix[0].T if input_axis(node) == 1 else matrix[0])
