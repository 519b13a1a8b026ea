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
class Beside:
    """What the target of a layer is made of beside the product of its inputs and its weight.

    Attributes:
        constant: the same at every place, [channels].
        added: tensors of the target's shape that are added to it, and by which factor, [channels].
    """

    constant: FloatArray
    added: tuple[tuple[str, FloatArray], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that are added."""
        return tuple(dict.fromkeys(name for name, _ in self.added))


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
        beside: what else the target is made of; None where that is not the same by channel or by place.
    """

    node: Node
    weight: str
    shape: tuple[int, ...]
    bias: str | None
    channels: int
    target: str
    slope: FloatArray
    alone: bool
    beside: Beside | None = None

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


@dataclass(frozen=True, eq=False)
class _Way:
    """From a layer's output to a later tensor: factor * output + constant + whatever is added, by channel."""

    factor: FloatArray
    constant: FloatArray | None
    added: tuple[tuple[str, FloatArray], ...] = ()
    alone: bool = True

    def then(self, step: "_Way") -> "_Way":
        """Return this way and a further one behind it."""
        known = None if self.constant is None or step.constant is None else self.constant * step.factor + step.constant
        added = (*((name, factor * step.factor) for name, factor in self.added), *step.added)
        return _Way(self.factor * step.factor, known, added, alone=self.alone and step.alone)

    @property
    def beside(self) -> Beside | None:
        """What is there beside the output; None where it is not the same by channel."""
        return None if self.constant is None else Beside(self.constant, self.added)


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
        target, way = self._target(node, channels, shape[0][channels])
        shape_of_weight = graph.facts.known[weight].first.shape
        return Layer(node, weight, shape_of_weight, bias, channels, target, way.factor, way.alone, way.beside)

    def _stored(self, name: str) -> str:
        """Return the tensor that holds a constant; if it is to be solved for, nothing else may read it."""
        graph = self.graph
        if not graph.is_leaf(name) or not graph.facts.known[name].is_constant:
            raise _UnsolvableError("its weight is computed at run time")
        if graph.facts.known[name].first.dtype not in (np.float16, np.float32, np.float64):
            raise _UnsolvableError("its weight is not stored in half, single or double precision")
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

    def _target(self, node: Node, channels: int, width: int) -> tuple[str, "_Way"]:
        graph, tensor = self.graph, node.outputs[0]
        bias = weight_layout_of(node).bias_of(node.inputs)
        rank = len(graph.facts.shapes[0][tensor])
        start = way = _Way(np.ones(width), np.zeros(width) if bias is None else self._bias_values(bias, width))
        while tensor not in graph.outputs:
            readers = graph.readers.get(tensor, ())
            if len(readers) != 1 or readers[0].inputs.count(tensor) != 1:
                break
            step = self._step(readers[0], tensor, (channels, rank, width), node)
            if step is None:
                break
            way = way.then(step)
            tensor = readers[0].outputs[0]
        if np.abs(way.factor).min() < _SMALLEST_SLOPE * max(1e-30, float(np.abs(way.factor).max())):
            return node.outputs[0], start
        return tensor, way

    def _bias_values(self, name: str, width: int) -> FloatArray | None:
        """Return a bias, [channels], None where it is computed or not the same at every place."""
        return self._per_channel(name, 1, 0, width) if self.graph.is_leaf(name) else None

    def _step(self, reader: Node, tensor: str, place: tuple[int, int, int], layer: Node) -> "_Way | None":
        """Return what `reader` makes of `tensor`, where it is linear in it and treats every channel alone.

        `place` is the axis of the channels, the rank of the tensor and the number of channels.
        """
        graph, (channels, rank, width) = self.graph, place
        pair = graph.facts.shape_pair(reader.outputs[0])
        if pair is None or pair != graph.facts.shape_pair(tensor):
            return None
        slot, one, none = reader.inputs.index(tensor), np.ones(width), np.zeros(width)
        if reader.op == "Identity" or (reader.op == "Dropout" and slot == 0):
            return _Way(one, none)
        if reader.op == "BatchNormalization" and slot == 0 and channels == 1:
            return self._normalisation(reader)
        if reader.op not in ("Add", "Sub", "Mul", "Div") or len(reader.inputs) != 2:
            return None
        other, sign = reader.inputs[1 - slot], -1.0 if reader.op == "Sub" else 1.0
        own = sign if slot else 1.0
        if graph.is_leaf(other):
            value = self._per_channel(other, rank, channels, width)
            if reader.op in ("Add", "Sub"):
                return _Way(own * one, None if value is None else own * sign * value)
            if value is None or (reader.op == "Div" and slot == 1):
                return None
            return _Way(1.0 / value if reader.op == "Div" else value, none)
        if reader.op not in ("Add", "Sub") or not self._settled(other, layer):
            return None
        alike = graph.facts.shape_pair(other) == pair
        return _Way(own * one, none if alike else None, ((other, own * sign * one),), alone=False)

    def _normalisation(self, node: Node) -> "_Way | None":
        constants = [self.graph.facts.known.get(name) for name in node.inputs[1:5]]
        if constants[0] is None or constants[3] is None or node.attrs.get("training_mode", 0):
            return None
        spread = np.sqrt(constants[3].first.astype(np.float64) + node.attrs.get("epsilon", 1e-5))
        factor = np.asarray(constants[0].first / spread)
        shift, mean = constants[1], constants[2]
        if shift is None or mean is None:
            return _Way(factor, None)
        return _Way(factor, np.asarray(shift.first - mean.first * factor))

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
