"""Where a layer can take a bias: its own, that of a normalisation behind it, or a constant that is added to it."""

from dataclasses import dataclass

import numpy as np

from onnxprune.graph.model import Graph, Node
from onnxprune.linear.layers import Layer
from onnxprune.recovery.stored import WeightEditor, sole_constant
from onnxprune.values.axes import FloatArray


@dataclass(frozen=True, eq=False)
class Shift:
    """A stored tensor with one number a channel; raising it by `factor` raises the layer's output by one."""

    tensor: str
    factor: FloatArray

    def add(self, weights: WeightEditor, amount: FloatArray) -> None:
        """Raise the output of every channel of the layer by `amount`."""
        value = weights[self.tensor]
        weights.replace(self.tensor, value + (amount.ravel() * self.factor).reshape(value.shape))


def find_shift(graph: Graph, layer: Layer) -> Shift | None:
    """Return where `layer` takes a bias, or None where it has no place for one."""
    width = len(layer.slope)
    if layer.bias is not None:
        return _shift(graph, layer.bias, np.ones(width))
    tensor = layer.output
    while tensor != layer.target:
        reader = graph.readers[tensor][0]
        if reader.op == "BatchNormalization":
            return _shift(graph, reader.inputs[2], _slope(graph, reader))
        if reader.op == "Add" and len(reader.inputs) == 2:
            other = reader.inputs[1 - reader.inputs.index(tensor)]
            if graph.is_leaf(other):
                rank = len(graph.facts.shapes[0][tensor])
                lies = _lies_on(graph, other, layer.channels, rank)
                return _shift(graph, other, np.ones(width)) if lies else None
        elif reader.op not in ("Identity", "Dropout"):
            return None
        tensor = reader.outputs[0]
    return None


def _slope(graph: Graph, node: Node) -> FloatArray:
    known = graph.facts.known
    scale, variance = (known[node.inputs[slot]].first.astype(np.float64) for slot in (1, 4))
    return np.asarray(scale / np.sqrt(variance + node.attrs.get("epsilon", 1e-5)))


def _lies_on(graph: Graph, constant: str, channels: int, rank: int) -> bool:
    """Whether a constant has all its numbers on the axis of the channels."""
    shape = graph.facts.known[constant].first.shape
    place = channels - (rank - len(shape))
    return all(size == 1 or axis == place for axis, size in enumerate(shape))


def _shift(graph: Graph, name: str, factor: FloatArray) -> Shift | None:
    tensor = sole_constant(graph, name)
    fits = tensor is not None and graph.facts.known[tensor].first.size == len(factor)
    return Shift(tensor, factor) if fits and tensor is not None else None
