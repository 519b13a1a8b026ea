"""Where to measure: each layer's output as the next layers see it, after its own bias, normalisation and activation."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnxprune.analysis.analysis import Analysis
from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import Axis
from onnxprune.values.statistics import LayerKind

# Ops that belong to the layer before them: one reader, one result, every channel by itself.
_PRIVATE = frozenset(
    "BatchNormalization Relu LeakyRelu PRelu Clip Elu Selu Celu Sigmoid HardSigmoid HardSwish Mish Softplus Softsign "
    "Tanh Gelu Swish ThresholdedRelu Identity Dropout Cast QuantizeLinear DequantizeLinear QLinearLeakyRelu "
    "QLinearSigmoid".split()
)
# So do these when the other operand is one constant per channel, or one for all: a bias or a scale written as a node.
_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})
_ACTIVATIONS = frozenset("Relu LeakyRelu PRelu Clip HardSwish Gelu Swish Mish Elu Selu Celu Mul".split())


@dataclass(frozen=True)
class Point:
    """One place of measurement: channels lie on axis `axis` of `tensor`, which has `rank` axes.

    Axis 0 is made of samples, or of several rows (tokens, windows) of each sample following each other; `positions`
    counts all that one sample has of a channel.

    Attributes:
        rows: rows of axis 0 that one sample has.
        activity: where the channel is seen to be active: the tensor itself, or for a layer that feeds a residual sum
            without an activation of its own, behind the activation after the sum.
        pool: the max pooling that reads `activity` next, if one does.
    """

    layer: str
    tensor: str
    axis: int
    rank: int
    channels: int
    positions: int
    kind: LayerKind
    rows: int
    activity: str
    pool: Node | None = None


def find_points(analysis: Analysis) -> tuple[Point, ...]:
    """Return one point for every layer that produces channels of a prunable group, in graph order.

    A convolution whose output has one position per channel is measured like a fully connected layer. A layer whose
    output does not have the samples on axis 0 is not measured.
    """
    produced = {member.axis for group in analysis.prunable for member in group.members if member.role == "produces"}
    ordered = sorted(produced, key=lambda axis: analysis.graph.producers[axis.ref.name].index)
    points = (_point(analysis.graph, axis) for axis in ordered)
    return tuple(point for point in points if point is not None)


def _point(graph: Graph, axis: Axis) -> Point | None:
    layer = axis.ref.name
    tensor = _follow(graph, axis)
    shape = graph.facts.shapes[0][tensor]
    rows = _rows_per_sample(graph, tensor)
    if axis.dim == 0 or rows is None:
        return None
    positions = rows
    for place, size in enumerate(shape):
        if place not in (0, axis.dim):
            positions *= size
    weight = graph.producers[layer].weight_layout
    dense = weight is not None and not weight.convolves
    kind: LayerKind = "vector" if dense or positions == 1 else "map"
    activity = _activity(graph, tensor)
    pool = _pool(graph, activity) if axis.dim == 1 else None
    return Point(layer, tensor, axis.dim, len(shape), shape[axis.dim], positions, kind, rows, activity, pool)


def _activity(graph: Graph, tensor: str) -> str:
    """Follow a layer without an activation of its own over a residual sum to the activation behind it."""
    readers = graph.readers.get(tensor, ())
    if graph.producers[tensor].op in _ACTIVATIONS or len(readers) != 1 or readers[0].op not in ("Add", "Sum"):
        return tensor
    total = readers[0].outputs[0]
    if graph.facts.shape_pair(total) != graph.facts.shape_pair(tensor):
        return tensor
    behind = [node for node in graph.readers.get(total, ()) if node.op in _ACTIVATIONS]
    return behind[0].outputs[0] if behind else tensor


def _pool(graph: Graph, tensor: str) -> Node | None:
    """Return the max pooling that alone reads `tensor`, where its winners can be told."""
    readers = graph.readers.get(tensor, ())
    if len(readers) != 1 or readers[0].op != "MaxPool":
        return None
    attrs = readers[0].attrs
    plain = attrs.get("auto_pad", b"NOTSET") in (b"NOTSET", "NOTSET") and not attrs.get("ceil_mode", 0)
    return readers[0] if plain and set(attrs.get("dilations", [1])) == {1} else None


def _rows_per_sample(graph: Graph, tensor: str) -> int | None:
    """Return how many rows of axis 0 one sample has, or None where axis 0 does not grow with the samples of any input.

    Inputs that disagree about the number of samples (recurrent state) are fed one whole call at a time.
    """
    found = graph.facts.shape_pair(tensor)
    if found is None:
        return None
    for name in graph.inputs:
        batches = graph.facts.shape_pair(name)
        if batches is not None and batches[0]:
            rows = {shape[0] / batch[0] for shape, batch in zip(found, batches, strict=True) if batch[0]}
            whole = rows.pop() if len(rows) == 1 else 0.0
            if whole >= 1 and whole.is_integer():
                return int(whole)
    return None


def _follow(graph: Graph, axis: Axis) -> str:
    """Follow the private chain of a layer: single readers that keep the shape and treat every channel alone."""
    tensor = axis.ref.name
    while tensor not in graph.outputs:
        following = _next(graph, tensor, axis.dim)
        if following is None or graph.facts.shape_pair(following) != graph.facts.shape_pair(tensor):
            return tensor
        tensor = following
    return tensor


def _next(graph: Graph, tensor: str, channels: int) -> str | None:
    readers = graph.readers.get(tensor, ())
    if len(readers) == 1:
        node = readers[0]
        if node.op in _PRIVATE and node.inputs[0] == tensor:
            return node.outputs[0]
        if node.op in _AFFINE and node.inputs.count(tensor) == 1:
            other = node.inputs[1 - node.inputs.index(tensor)]
            if _per_channel(graph, other, tensor, channels):
                return node.outputs[0]
    return _gated(tensor, readers)


def _per_channel(graph: Graph, other: str, tensor: str, channels: int) -> bool:
    """Whether an operand is the same for all samples and varies along the channel axis of `tensor` alone, if at all.

    Such are constants, and numbers or vectors computed at run time (the scale of a tensor quantized dynamically).
    """
    shape, rank = graph.facts.shapes[0].get(other), len(graph.facts.shapes[0][tensor])
    if shape is None or not (graph.is_leaf(other) or other in graph.constant_derived or len(shape) <= 1 < rank):
        return False
    return all(size == 1 or rank - len(shape) + place == channels for place, size in enumerate(shape))


def _gated(tensor: str, readers: Sequence[Node]) -> str | None:
    """Recognise x * f(x) written as two nodes (SiLU, HardSwish)."""
    if len(readers) != 2:
        return None
    gates = [node for node in readers if node.op in ("Sigmoid", "HardSigmoid")]
    products = [node for node in readers if node.op == "Mul"]
    if len(gates) == len(products) == 1 and set(products[0].inputs) == {tensor, gates[0].outputs[0]}:
        return products[0].outputs[0]
    return None
