"""Where to measure: each layer's output as the next layers see it, after its own normalisation and activation."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnxprune.analysis.analyse import Analysis
from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import Axis
from onnxprune.values.statistics import LayerKind

# Ops that belong to the layer before them: one reader, one result, every channel by itself.
_PRIVATE = frozenset(
    "BatchNormalization Relu LeakyRelu PRelu Clip Elu Selu Celu Sigmoid HardSigmoid HardSwish Mish Softplus Softsign "
    "Tanh Gelu Swish ThresholdedRelu Identity Dropout Cast".split()
)
_VECTOR_LAYERS = frozenset({"Gemm", "MatMul"})


@dataclass(frozen=True)
class Point:
    """One place of measurement: channels lie on axis `axis` of `tensor`, which has `rank` axes."""

    layer: str
    tensor: str
    axis: int
    rank: int
    channels: int
    positions: int
    kind: LayerKind


def find_points(analysis: Analysis) -> tuple[Point, ...]:
    """Return one point for every layer that produces channels of a prunable group, in graph order.

    A convolution whose output has one position per channel is measured like a fully connected layer.
    """
    produced = {member.axis for group in analysis.prunable for member in group.members if member.role == "produces"}
    ordered = sorted(produced, key=lambda axis: analysis.graph.producers[axis.ref.name].index)
    return tuple(_point(analysis.graph, axis) for axis in ordered)


def _point(graph: Graph, axis: Axis) -> Point:
    layer = axis.ref.name
    tensor = _follow(graph, layer)
    shape = graph.facts.shapes[0][tensor]
    positions = 1
    for place, size in enumerate(shape):
        if place not in (0, axis.dim):
            positions *= size
    dense = graph.producers[layer].op in _VECTOR_LAYERS
    kind: LayerKind = "vector" if dense or positions == 1 else "map"
    return Point(layer, tensor, axis.dim, len(shape), shape[axis.dim], positions, kind)


def _follow(graph: Graph, tensor: str) -> str:
    """Follow the private chain of a layer: single readers that keep the shape and treat every channel alone."""
    while tensor not in graph.outputs:
        following = _next(graph, tensor)
        if following is None or graph.facts.shape_pair(following) != graph.facts.shape_pair(tensor):
            return tensor
        tensor = following
    return tensor


def _next(graph: Graph, tensor: str) -> str | None:
    readers = graph.readers.get(tensor, ())
    if len(readers) == 1 and readers[0].op in _PRIVATE and readers[0].inputs[0] == tensor:
        return readers[0].outputs[0]
    return _gated(graph, tensor, readers)


def _gated(graph: Graph, tensor: str, readers: Sequence[Node]) -> str | None:
    """Recognise x * f(x) written as two nodes (SiLU, HardSwish)."""
    if len(readers) != 2:
        return None
    gates = [node for node in readers if node.op in ("Sigmoid", "HardSigmoid")]
    products = [node for node in readers if node.op == "Mul"]
    if len(gates) == len(products) == 1 and set(products[0].inputs) == {tensor, gates[0].outputs[0]}:
        return products[0].outputs[0]
    return None
