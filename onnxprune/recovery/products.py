"""Products of two activations, as attention has them: what one side loses is made up for in the other.

The scores are Q K', a sum over the dimensions of a head. Where some of these go, K_removed ~ K_kept C over the samples,
by least squares, and Q_removed K_removed' is Q_removed C' K_kept'. So Q_kept + Q_removed C' in place of Q_kept has the
scores, as far as the dimensions of K depend on each other; and with the sides changed over, those of Q. Of the two, that
one is taken that leaves less. What a layer is to make then is its original output times a matrix.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.graph.model import Graph, Node
from onnxprune.linear.held import Calls
from onnxprune.linear.layers import find_layers
from onnxprune.recovery.downstream import masks_of
from onnxprune.recovery.stored import kept_values
from onnxprune.runtime.session import open_session
from onnxprune.values.axes import Axis, BoolArray, FloatArray, IntArray

Array = NDArray[Any]

MOVES = frozenset({"Transpose", "Reshape", "Split", "Slice", "Squeeze", "Unsqueeze", "Identity", "Gather", "Flatten"})
"""Ops that only move values about."""

SCALES = frozenset({"Mul", "Div"})

RIDGE = 1e-3
"""Added to the moments that are inverted, as a share of their mean diagonal."""

HEADED = 4
"""Axes of an operand that has its heads on the second."""


@dataclass(frozen=True, eq=False)
class Mixed:
    """What a tensor of the pruned network is to be: that of the original times `matrix` [channels, kept channels]."""

    axis: int
    matrix: FloatArray


@dataclass(frozen=True, eq=False)
class _Side:
    """One operand of a product.

    Attributes:
        name: the tensor.
        made: the tensors on the way to it from a layer's output on, which channels are added to and moved about in.
        channels: which axis of these the channels lie on.
        places: which channel each dimension of each head is, [heads, dimensions].
    """

    name: str
    made: tuple[str, ...]
    channels: int
    places: IntArray


def wanted(mixed: Mapping[str, Mixed], masks: Mapping[Axis, BoolArray], tensor: str, value: Array) -> Array:
    """Return what the pruned network is to have in place of the original's `value` of a tensor."""
    kept, found = masks_of(masks, tensor), mixed.get(tensor)
    if found is None:
        return kept_values(value, kept)
    product = np.moveaxis(np.moveaxis(value, found.axis, -1) @ found.matrix.astype(value.dtype), -1, found.axis)
    return kept_values(product, {axis: mask for axis, mask in kept.items() if axis != found.axis})


def mixed_targets(graph: Graph, masks: Mapping[Axis, BoolArray], calls: Calls, fitting: int) -> dict[str, Mixed]:
    """Return by tensor what is to be made of it so that products keep their values; nothing where none lost a term.

    Args:
        graph: of the original, whose model holds its weights itself.
        masks: keep mask of every axis that lost positions.
        calls: feeds.
        fitting: how many of them, the first ones, are fitted to.
    """
    found: dict[str, Mixed] = {}
    taken: set[tuple[str, int]] = set()
    for node in graph.nodes:
        kept = _kept_terms(graph, node, masks)
        if kept is None:
            continue
        sides = [_side(graph, name, calls) for name in node.inputs]
        moments = list(_moments(graph, node, [calls[number] for number in range(fitting)]))
        ways = [_way(moments, place, kept) for place in (0, 1)]
        for _, place, relation in sorted(ways, key=lambda way: way[0]):
            side = sides[place]
            if side is None or len(side.places) != len(relation):
                continue
            changed = {(side.made[0], int(channel)) for channel in side.places[:, kept].ravel()}
            if changed & taken:
                continue
            taken |= changed
            for name in side.made:
                mask = masks_of(masks, name).get(side.channels)
                if mask is not None:
                    before = found[name].matrix if name in found else np.eye(len(mask))[:, mask]
                    found[name] = Mixed(side.channels, _mixing(before, mask, side.places, kept, relation))
            break
    return found


def _kept_terms(graph: Graph, node: Node, masks: Mapping[Axis, BoolArray]) -> BoolArray | None:
    """Return which terms of the sums in a product of activations are kept; None where it is none, or lost none."""
    if node.kind != "MatMul" or any(graph.is_leaf(name) or name in graph.constant_derived for name in node.inputs):
        return None
    pairs = [graph.facts.shape_pair(name) for name in node.inputs]
    ranks = [0 if pair is None else len(pair[0]) for pair in pairs]
    if ranks != [HEADED, HEADED]:
        return None
    first, second = (masks_of(masks, name).get(axis) for name, axis in zip(node.inputs, (3, 2), strict=True))
    same = first is not None and second is not None and np.array_equal(first, second)
    return first if same and first is not None and first.any() else None


def _side(graph: Graph, operand: str, calls: Calls) -> _Side | None:
    """Follow an operand back to the layer that makes it; None where more than moves and a scale lie between."""
    tensor = operand
    while (maker := graph.producers.get(tensor)) is not None and not maker.domain:
        computed = [name for name in maker.inputs if name and not graph.is_leaf(name)]
        if maker.op in MOVES or (maker.op in SCALES and len(computed) == 1):
            tensor = maker.inputs[0] if maker.op in MOVES else computed[0]
        else:
            break
    layers = {layer.output: layer for layer in find_layers(graph)[0]}
    made = [tensor]
    if maker is not None and maker.op == "Add":
        made += [name for name in maker.inputs if not graph.is_leaf(name)]
    layer = layers.get(made[-1])
    if layer is None or len(made) > 1 + (maker is not None and maker.op == "Add"):
        return None
    places = _places(graph, tensor, operand, layer.channels, calls[0])
    return None if places is None else _Side(operand, tuple(made), layer.channels, places)


def _places(graph: Graph, tensor: str, operand: str, channels: int, feeds: Mapping[str, Array]) -> IntArray | None:
    """Return which channel of a tensor each dimension of each head of the operand is, [heads, dimensions].

    The nodes in between are run on the numbers of the channels, and on ones for the scale.
    """
    fed = "onnxprune/numbered"
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    for node in model.graph.node:
        node.input[:] = [fed if name == tensor else name for name in node.input]
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=operand))
    whole = onnx.ModelProto()
    whole.CopyFrom(graph.model)
    del whole.graph.output[:]
    whole.graph.output.append(onnx.ValueInfoProto(name=tensor))
    value = open_session(whole, name="the model").run(feeds)[tensor]
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    model.graph.input.append(onnx.helper.make_tensor_value_info(fed, kind, list(value.shape)))
    session = open_session(model, name="a piece of the model")
    shape = [-1 if axis == channels else 1 for axis in range(value.ndim)]
    numbers = np.broadcast_to(np.arange(1, value.shape[channels] + 1).reshape(shape), value.shape).astype(value.dtype)
    given = {spec.name for spec in session.inputs}
    known = {name: array for name, array in feeds.items() if name in given}
    found, ones = (session.run({**known, fed: each})[operand] for each in (numbers, np.ones_like(numbers)))
    axis = 3 if graph.readers[operand][0].inputs[0] == operand else 2
    with np.errstate(divide="ignore", invalid="ignore"):
        placed = np.moveaxis(found / ones, axis, -1)
    first = placed[0, :, 0]
    if not np.isfinite(placed).all() or np.abs(placed - first[None, :, None]).max(initial=0.0) > 0.1:
        return None
    return np.rint(first).astype(np.int64) - 1


def _moments(graph: Graph, node: Node, calls: Sequence[Mapping[str, Array]]) -> Iterator[FloatArray]:
    """Yield the second moments of both operands over all places, [heads, dimensions, dimensions]."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    names = list(dict.fromkeys(node.inputs))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(model, name="a piece of the model")
    sums: list[Any] = [0.0, 0.0]
    for feeds in calls:
        found = session.run(feeds)
        for place, name in enumerate(node.inputs):
            value = np.moveaxis(found[name].astype(np.float64), 3 if place == 0 else 2, -1)
            sums[place] = sums[place] + np.einsum("bhti,bhtj->hij", value, value, optimize=True)
    yield from (np.asarray(each) for each in sums)


def _way(moments: Sequence[FloatArray], place: int, kept: BoolArray) -> tuple[float, int, FloatArray]:
    """Return what is left wrong of the product if the side `place` answers for it, `place`, and C by head.

    C is [heads, kept, removed]: the other side's removed dimensions by its kept ones.
    """
    own, other = moments[place], moments[1 - place]
    inner = other[:, kept][:, :, kept]
    ridge = RIDGE * np.trace(inner, axis1=1, axis2=2) / max(1, int(kept.sum()))
    inner = inner + (ridge + np.finfo(np.float64).tiny)[:, None, None] * np.eye(int(kept.sum()))
    cross = other[:, kept][:, :, ~kept]
    relation = np.linalg.solve(inner, cross)
    rest = other[:, ~kept][:, :, ~kept] - np.swapaxes(cross, 1, 2) @ relation
    return float(np.einsum("hij,hji->", own[:, ~kept][:, :, ~kept], rest)), place, relation


def _mixing(before: FloatArray, mask: BoolArray, places: IntArray, kept: BoolArray, relation: FloatArray) -> FloatArray:
    """Return the matrix [channels, kept channels] in which removed dimensions are added to the kept ones."""
    column = np.cumsum(mask) - 1
    matrix = before.copy()
    for head, channels in enumerate(places):
        matrix[np.ix_(channels[~kept], column[channels[kept]])] += relation[head].T
    return matrix
