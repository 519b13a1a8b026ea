"""The oracle of a cut: the original network with the removed channels multiplied by zero.

The zeros come immediately before every op that adds up over the axis, so the masked network says exactly what a network
without those channels must compute, whatever an activation makes of zero. Nothing is resized here.
"""

from collections.abc import Mapping

import numpy as np
import onnx

from onnxprune.analysis.analyse import Analysis
from onnxprune.values.axes import Axis, BoolArray


def masked_model(analysis: Analysis, masks: Mapping[Axis, BoolArray]) -> onnx.ModelProto:
    """Return a copy of the model with a Mul by `masks` (True = kept) before every sum over a masked axis."""
    result = onnx.ModelProto()
    result.CopyFrom(analysis.graph.model)
    reroute: dict[tuple[int, str], list[Axis]] = {}
    for axis, index in analysis.labelled.sums:
        if axis in masks and not axis.ref.is_use:
            reroute.setdefault((index, axis.ref.name), []).append(axis)
    made: dict[tuple[str, tuple[int, ...]], str] = {}
    before: dict[int, list[onnx.NodeProto]] = {}
    for (index, name), axes in sorted(reroute.items()):
        ordered = sorted({axis.dim: axis for axis in axes}.items())
        key = (name, tuple(place for place, _ in ordered))
        if key not in made:
            made[key] = _mask(analysis, result, name, [(place, masks[axis]) for place, axis in ordered], before, index)
        node = result.graph.node[index]
        for slot, read in enumerate(node.input):
            if read == name:
                node.input[slot] = made[key]
    nodes = [entry for index, node in enumerate(result.graph.node) for entry in (*before.get(index, ()), node)]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del result.graph.node[:]
    result.graph.node.extend(copies)
    return result


def _mask(
    analysis: Analysis,
    result: onnx.ModelProto,
    name: str,
    masks: list[tuple[int, BoolArray]],
    before: dict[int, list[onnx.NodeProto]],
    index: int,
) -> str:
    """Insert `name` times its masks in front of node `index`; return the name of the masked tensor."""
    kind = analysis.graph.facts.types[0][name].tensor_type.elem_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    rank = len(analysis.graph.facts.shapes[0][name])
    factor = np.ones([1] * rank, dtype=bool)
    for axis, mask in masks:
        factor = factor & mask.reshape([-1 if place == axis else 1 for place in range(rank)])
    tag = "_".join(str(axis) for axis, _ in masks)
    constant, masked = f"{name}/onnxprune_mask_{tag}", f"{name}/onnxprune_masked_{tag}"
    result.graph.initializer.append(onnx.numpy_helper.from_array(factor.astype(dtype), constant))
    before.setdefault(index, []).append(onnx.helper.make_node("Mul", [name, constant], [masked], name=masked))
    return masked
