"""The layers whose weights can be solved for: what they read, where their error is measured, and by which slope.

The error of a layer is measured as far on as everything between is linear in its output and treats every channel
alone: behind a bias, a normalisation with constant statistics and the sum of a residual stream. There a layer can also
answer for the drift of the stream that it is added to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxprune.graph.layers.weight_layout import WEIGHTED
from onnxprune.graph.model import Graph, Node, weight_layout_of
from onnxprune.values.axes import FloatArray

_SMALLEST_SLOPE = 1e-6


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of the pruned model.

    Attributes:
        node: the node.
        weight: the tensor that holds its weight.
        shape: of the weight.
        bias: the tensor that holds its bias, or None.
        channels: which axis of its output the channels lie on.
        target: the tensor in which its error is measured.
        slope: what one unit of the output adds to the target, [channels].
        alone: whether the target is this layer's output scaled and shifted, with nothing else that varies added to it.
    """

    node: Node
    weight: str
    shape: tuple[int, ...]
    bias: str | None
    channels: int
    target: str
    slope: FloatArray
    alone: bool

    @property
    def source(self) -> str:
        """The tensor that the layer reads."""
        return self.node.inputs[weight_layout_of(self.node).data]

    @property
    def kernel(self) -> tuple[int, ...]:
        """The taps of the kernel by spatial axis; () for a fully connected layer."""
        return weight_layout_of(self.node).kernel(self.shape)

    def space(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of an output of `shape` that are neither samples nor channels."""
        return tuple(size for axis, size in enumerate(shape) if axis not in (0, self.channels))

    @property
    def output(self) -> str:
        """The tensor that the layer makes."""
        return self.node.outputs[0]


def find_layers(graph: Graph, *, solvable: bool = True) -> tuple[tuple[Layer, ...], Mapping[str, str]]:
    """Return the layers that can be solved for, in graph order, and why the others cannot, by the output's name.

    With `solvable` false, layers that can only be looked at are among them, such as those that share a weight or bias
    with another layer; no bias is named then.
    """
    finder = _Finder(graph, solvable=solvable)
    layers, skipped = [], {}
    for node in graph.nodes:
        if node.domain or node.op not in WEIGHTED or graph.is_folded(node):
            continue
        try:
            layers.append(finder.layer(node))
        except _UnsolvableError as reason:
            skipped[node.outputs[0]] = str(reason)
    return tuple(layers), skipped


class _UnsolvableError(Exception):
    """Why a layer is left as it is."""


class _Finder:
    def __init__(self, graph: Graph, *, solvable: bool) -> None:
        self.graph = graph
        self.solvable = solvable

    def layer(self, node: Node) -> Layer:
        graph, layout = self.graph, weight_layout_of(node)
        weight = self._stored(node.inputs[layout.weight])
        if node.inputs[layout.data] in graph.facts.known:
            raise _UnsolvableError("its input is a constant")
        if layout.data_axis == 0:
            raise _UnsolvableError("its input is transposed")
        if node.op == "Gemm" and (node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)) != (1.0, 1.0):
            raise _UnsolvableError("its product is scaled")
        if not layout.convolves and graph.facts.known[weight].first.ndim != 2:
            raise _UnsolvableError("its weight is not a matrix")
        shape = graph.facts.shape_pair(node.outputs[0])
        if shape is None:
            raise _UnsolvableError("the shape of its output is unknown")
        channels = layout.output_axis % len(shape[0])
        if channels == 0:
            raise _UnsolvableError("its output has no axis for samples")
        bias = self._bias(node)
        target, slope, alone = self._target(node, channels, shape[0][channels])
        return Layer(node, weight, graph.facts.known[weight].first.shape, bias, channels, target, slope, alone)

    def _stored(self, name: str) -> str:
        """Return the tensor that holds a constant; if it is to be solved for, nothing else may read it."""
        graph = self.graph
        if not graph.is_leaf(name) or not graph.facts.known[name].is_constant:
            raise _UnsolvableError("its weight is computed at run time")
        if graph.facts.known[name].first.dtype not in (np.float32, np.float64):
            raise _UnsolvableError("its weight is not stored in single precision")
        if not self.solvable:
            return name
        root = graph.root(name)
        if root not in graph.initializers and graph.producers[root].op != "Constant":
            raise _UnsolvableError("its weight is computed from other constants")
        if sum(read == name for reader in graph.readers.get(name, ()) for read in reader.inputs) > 1 or root != name:
            raise _UnsolvableError("its weight is shared")
        return root

    def _bias(self, node: Node) -> str | None:
        bias = weight_layout_of(node).bias_of(node.inputs)
        return None if bias is None or not self.solvable else self._stored(bias)

    def _target(self, node: Node, channels: int, width: int) -> tuple[str, FloatArray, bool]:
        graph, tensor = self.graph, node.outputs[0]
        slope, alone = np.ones(width), True
        while tensor not in graph.outputs:
            readers = graph.readers.get(tensor, ())
            if len(readers) != 1 or readers[0].inputs.count(tensor) != 1:
                break
            factor = self._factor(readers[0], tensor, channels, width, node)
            if factor is None:
                break
            slope = slope * factor
            alone = alone and all(name == tensor or not name or graph.is_leaf(name) for name in readers[0].inputs)
            tensor = readers[0].outputs[0]
        if np.abs(slope).min() < _SMALLEST_SLOPE * max(1e-30, float(np.abs(slope).max())):
            return node.outputs[0], np.ones(width), True
        return tensor, slope, alone

    def _factor(self, reader: Node, tensor: str, channels: int, width: int, layer: Node) -> FloatArray | None:
        """Return d output / d tensor by channel, where `reader` is linear in `tensor`."""
        graph = self.graph
        pair = graph.facts.shape_pair(reader.outputs[0])
        if pair is None or pair != graph.facts.shape_pair(tensor):
            return None
        slot = reader.inputs.index(tensor)
        if reader.op == "Identity" or (reader.op == "Dropout" and slot == 0):
            return np.ones(width)
        if reader.op == "BatchNormalization" and slot == 0 and channels == 1:
            scale, _, _, variance = (graph.facts.known.get(name) for name in reader.inputs[1:5])
            if scale is None or variance is None or reader.attrs.get("training_mode", 0):
                return None
            return np.asarray(
                scale.first / np.sqrt(variance.first.astype(np.float64) + reader.attrs.get("epsilon", 1e-5))
            )
        if reader.op not in ("Add", "Sub", "Mul", "Div") or len(reader.inputs) != 2:
            return None
        other = reader.inputs[1 - slot]
        sign = -1.0 if reader.op == "Sub" and slot == 1 else 1.0
        if reader.op in ("Add", "Sub"):
            return np.full(width, sign) if graph.is_leaf(other) or self._settled(other, layer) else None
        if not graph.is_leaf(other) or (reader.op == "Div" and slot == 1):
            return None
        factor = self._per_channel(other, len(pair[0]), channels, width)
        if factor is None:
            return None
        return 1.0 / factor if reader.op == "Div" else factor

    def _per_channel(self, constant: str, rank: int, channels: int, width: int) -> FloatArray | None:
        value = self.graph.facts.known[constant].first
        place = channels - (rank - value.ndim)
        if any(size != 1 for axis, size in enumerate(value.shape) if axis != place):
            return None
        return np.broadcast_to(value.astype(np.float64).ravel(), (width,)) if value.size in (1, width) else None

    def _settled(self, tensor: str, layer: Node) -> bool:
        """Whether every layer that `tensor` depends on comes before `layer`, so that it is solved already."""
        return self._last_layer.get(tensor, -1) < layer.index

    @cached_property
    def _last_layer(self) -> dict[str, int]:
        """The highest number of a layer that each tensor depends on."""
        last: dict[str, int] = {}
        for node in self.graph.nodes:
            number = max((last.get(name, -1) for name in (*node.inputs, *node.captured)), default=-1)
            if node.op in WEIGHTED and not node.domain:
                number = node.index
            last.update(dict.fromkeys(node.outputs, number))
        return last
