"""Normalisations over the last axis: as one op, or written out as exporters of opsets before 17 do.

LayerNormalization: d = x - mean(x), y = d / sqrt(mean(d^2) + epsilon) * scale + shift
RMSNormalization:   y = x / sqrt(mean(x^2) + epsilon) * scale
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import Ref

_CENTRING = frozenset(("LayerNormalization",))
_OPS = _CENTRING | {"RMSNormalization", "SimplifiedLayerNormalization"}


@dataclass(frozen=True)
class Norm:
    """A normalisation over the last axis.

    Attributes:
        source: what it normalises.
        output: what it makes.
        centred: whether it takes out the mean.
        scale: what it multiplies by, one number a channel; None: by nothing.
        shift: what it adds then; None: nothing.
        nodes: that it consists of.
    """

    source: str
    output: str
    centred: bool
    scale: Ref | None
    shift: Ref | None
    nodes: frozenset[int]

    @property
    def number(self) -> int:
        """The first of its nodes."""
        return min(self.nodes)


def find_norms(graph: Graph) -> Mapping[str, Norm]:
    """Return the normalisations by what they make."""
    found = (_norm(graph, node) for node in graph.nodes if not graph.is_folded(node))
    return {norm.output: norm for norm in found if norm is not None}


def _norm(graph: Graph, node: Node) -> Norm | None:
    if node.op in _OPS:
        return _single(graph, node)
    if node.domain or node.op not in ("Div", "Mul"):
        return None
    return _written_out(graph, node)


def _single(graph: Graph, node: Node) -> Norm | None:
    rank = len(graph.facts.shapes[0].get(node.inputs[0], ()))
    if node.attrs.get("axis", -1) not in (-1, rank - 1) or any(node.outputs[1:]):
        return None
    scale, shift = (
        Ref(node.inputs[slot], node.index, slot) if slot < len(node.inputs) and node.inputs[slot] else None
        for slot in (1, 2)
    )
    known = all(ref is None or graph.is_leaf(ref.name) for ref in (scale, shift))
    if scale is None or not known:
        return None
    return Norm(node.inputs[0], node.outputs[0], node.op in _CENTRING, scale, shift, frozenset((node.index,)))


def _written_out(graph: Graph, last: Node) -> Norm | None:
    """Follow a division by a deviation back to what is normalised, and on through scale and shift."""
    way = _deviation(graph, last)
    square = way[-1] if way else None
    if square is None or square.inputs[0] != last.inputs[0]:
        return None
    source, difference = last.inputs[0], graph.maker(last.inputs[0])
    mean = None if difference is None or difference.op != "Sub" else graph.maker(difference.inputs[1])
    centring = []
    if difference is not None and mean is not None and _takes_out(graph, mean, difference):
        centring, source = [difference, mean], mean.inputs[0]
    inside = [last, *way, *centring]
    if not _alone(graph, inside):
        return None
    scale = _factor(graph, last, "Mul")
    scaled = last if scale is None else graph.nodes[scale.node]
    shift = _factor(graph, scaled, "Add")
    shifted = scaled if shift is None else graph.nodes[shift.node]
    nodes = frozenset(node.index for node in (*inside, scaled, shifted))
    return Norm(source, shifted.outputs[0], bool(centring), scale, shift, nodes)


def _deviation(graph: Graph, last: Node) -> list[Node]:
    """Return what makes the deviation that a node divides by, the square last; nothing where it is none."""
    found: list[Node] = []
    wanted = [*(["Reciprocal"] if last.op == "Mul" else []), "Sqrt", "Add", "ReduceMean"]
    name = last.inputs[1]
    for op in wanted:
        node = graph.maker(name)
        if node is None or node.op != op:
            return []
        found.append(node)
        name = node.inputs[0]
    square = graph.maker(name)
    held = square is not None and _is_number(graph, found[-2].inputs[1]) and _is_mean(graph, found[-1])
    return [*found, square] if held and square is not None and _is_square(graph, square) else []


def _factor(graph: Graph, node: Node, op: str) -> Ref | None:
    """Return the vector that a result is multiplied by, or that is added to it, where nothing else reads it."""
    output = node.outputs[0]
    following = next(iter(graph.readers.get(output, ())), None)
    if following is None or following.op != op or output in graph.outputs or not graph.is_read_once(output):
        return None
    place = 1 - list(following.inputs).index(output)
    name = following.inputs[place]
    vector = graph.is_leaf(name) and np.ndim(graph.facts.known[name].first) == 1
    return Ref(name, following.index, place) if vector else None


def _alone(graph: Graph, inside: list[Node]) -> bool:
    """Whether nobody else reads what all nodes but the first make."""
    numbers = {node.index for node in inside}
    return all(
        node.outputs[0] not in graph.outputs
        and all(
            reader.index in numbers and node.outputs[0] not in reader.captured
            for reader in graph.readers.get(node.outputs[0], ())
        )
        for node in inside[1:]
    )


def _is_mean(graph: Graph, node: Node) -> bool:
    if node.op != "ReduceMean" or not node.attrs.get("keepdims", 1):
        return False
    rank = len(graph.facts.shapes[0].get(node.inputs[0], ()))
    axes = graph.axes_of(node, 1)
    return axes is not None and [int(axis) % max(1, rank) for axis in axes] == [rank - 1]


def _takes_out(graph: Graph, mean: Node, difference: Node) -> bool:
    return _is_mean(graph, mean) and mean.inputs[0] == difference.inputs[0]


def _is_square(graph: Graph, node: Node) -> bool:
    if node.op == "Mul":
        return node.inputs[0] == node.inputs[1]
    return node.op == "Pow" and _is_number(graph, node.inputs[1], 2.0)


def _is_number(graph: Graph, name: str, value: float | None = None) -> bool:
    """Whether a tensor is one known number, this one if any is given."""
    if not graph.is_leaf(name) or graph.facts.known[name].first.size != 1:
        return False
    return value is None or float(graph.facts.known[name].first.ravel()[0]) == value
