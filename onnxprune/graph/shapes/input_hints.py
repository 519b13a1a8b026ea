"""What the layers that read a graph input say of its shape, for files that leave its rank or channels free."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from onnxprune.graph.layers.weight_layout import WEIGHTED, weight_layout

# By axis (negative: from the back) the size that a layer's weight calls for; under None the rank.
ShapeHint = dict[int | None, int]


def input_shape_hints(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> dict[str, ShapeHint]:
    """Return a hint for every graph input that a layer with a constant weight reads."""
    inputs = {value.name for value in model.graph.input} - constants.keys()
    found: dict[str, ShapeHint] = {}
    for node in model.graph.node:
        if node.op_type not in WEIGHTED or node.domain or len(node.input) < 2:
            continue
        if node.input[0] in inputs and node.input[1] in constants:
            attrs = {attribute.name: attribute.i for attribute in node.attribute}
            for axis, size in _hint(node.op_type, attrs, constants[node.input[1]].shape).items():
                found.setdefault(node.input[0], {}).setdefault(axis, size)
    return found


def _hint(op: str, attrs: Mapping[str, int], weight: Sequence[int]) -> ShapeHint:
    layout = weight_layout(op, attrs)
    if layout is None or not layout.fits(weight):
        return {}
    rank = layout.data_rank(weight)
    channels: ShapeHint = {layout.data_axis: layout.input_channels(weight)}
    return channels if rank is None else {None: rank, **channels}
