"""What the layers that read a graph input say of its shape, for files that leave its rank or channels free."""

from collections.abc import Mapping

import numpy as np
import onnx

# By axis (negative: from the back) the size that a layer's weight calls for; under None the rank.
ShapeHint = dict[int | None, int]


def input_shape_hints(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> dict[str, ShapeHint]:
    """Return the demands on every graph input that a layer with a constant weight reads."""
    inputs = {value.name for value in model.graph.input} - constants.keys()
    found: dict[str, ShapeHint] = {}
    for node in model.graph.node:
        if len(node.input) > 1 and node.input[0] in inputs and node.input[1] in constants and not node.domain:
            attrs = {attribute.name: attribute.i for attribute in node.attribute}
            for axis, size in _demand(node.op_type, attrs, constants[node.input[1]].shape).items():
                found.setdefault(node.input[0], {}).setdefault(axis, size)
    return found


def _demand(op: str, attrs: Mapping[str, int], weight: tuple[int, ...]) -> ShapeHint:
    if op == "Conv" and len(weight) > 2:
        return {None: len(weight), 1: weight[1] * attrs.get("group", 1)}
    if op == "ConvTranspose" and len(weight) > 2:
        return {None: len(weight), 1: weight[0]}
    if op == "Gemm" and len(weight) == 2:
        return {None: 2, 0 if attrs.get("transA") else 1: weight[1 if attrs.get("transB") else 0]}
    if op == "MatMul" and weight:
        return {-1: weight[-2 if len(weight) > 1 else 0]}
    return {}
