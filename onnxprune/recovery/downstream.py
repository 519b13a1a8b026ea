"""Which layers a cut reaches: those that read what lost channels, and all that follow from them."""

from collections.abc import Iterable, Mapping

import onnx

from onnxprune.linear.layers import Layer
from onnxprune.values.axes import Axis, BoolArray, Ref


def downstream(model: onnx.ModelProto, masks: Mapping[Axis, BoolArray], bypassed: Iterable[str] = ()) -> frozenset[str]:
    """Return the tensors of `model` that a cut changes, and what is computed from them.

    They are those that lost channels, and the results of sums that lost an operand (`bypassed`).
    """
    reached = {*bypassed, *(axis.ref.name for axis in masks if not axis.ref.is_use)}
    for node in model.graph.node:
        if reached & set(node.input):
            reached.update(name for name in node.output if name)
    return frozenset(reached)


def masks_of(masks: Mapping[Axis, BoolArray], tensor: str) -> dict[int, BoolArray]:
    """Return the keep masks of a tensor by axis."""
    return {axis.dim: mask for axis, mask in masks.items() if axis.ref == Ref(tensor)}


def is_reached(layer: Layer, reached: frozenset[str]) -> bool:
    """Whether a cut changes what a layer reads or where its error shows."""
    return bool(reached & {layer.source, layer.target})
