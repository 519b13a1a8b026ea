"""Products of two activations, as attention has them: queries and keys are given the dimensions that matter.

The scores are Q K', a sum over the dimensions of a head. Where some of these go, the layers that make Q and K may make
any combinations of their dimensions in place of those that are kept: Q A and K B of the kept width, A B' as near to the
identity as Q and K see it. Over the samples with second moments S and T that is the best approximation of lower rank of
S^(1/2) T^(1/2) = U D V', so A = S^(-1/2) U D^(1/2) and B = T^(-1/2) V D^(1/2), with the largest values of D kept.

Where only one of the two can be made anew, K_removed ~ K_kept C by least squares, and Q_kept + Q_removed C' in place of
Q_kept has the scores as far as the dimensions of K depend on each other.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.graph.model import Graph, Node
from onnxprune.linear.held import Calls
from onnxprune.linear.layers import Layer, find_layers
from onnxprune.recovery.downstream import masks_of
from onnxprune.recovery.stored import kept_values
from onnxprune.runtime.session import Session, open_session
from onnxprune.values.axes import Axis, BoolArray, FloatArray, IntArray

Array = NDArray[Any]

MOVES = frozenset({"Transpose", "Reshape", "Split", "Slice", "Squeeze", "Unsqueeze", "Identity", "Gather", "Flatten"})
"""Ops that only move values about."""

SCALES = frozenset({"Mul", "Div"})

RIDGE = 1e-3
"""Added to the moments that are inverted, as a share of their mean diagonal."""

SMALLEST = 1e-6
"""Relative difference of two scales that counts as one."""

HEADED = 4
"""Axes of an operand that has its heads on the second."""

MEASURED = 8
"""Calls that moments are taken from, at most: every place of a sequence is a row of its own."""

TERMS = (3, 2)
"""The axes of the two operands that are summed over."""


@dataclass(frozen=True, eq=False)
class Mixed:
    """What a tensor of the pruned network is to be: that of the original times `matrix` [channels, kept channels]."""

    axis: int
    matrix: FloatArray


@dataclass(frozen=True, eq=False)
class _Side:
    """One operand of a product.

    Attributes:
        made: the tensors of a layer, from its output to where its error shows.
        channels: which axis of these the channels lie on.
        places: which channel each dimension of each head is, [heads, dimensions].
    """

    made: tuple[str, ...]
    channels: int
    places: IntArray


def wanted(mixed: Mapping[str, Mixed], masks: Mapping[Axis, BoolArray], tensor: str) -> Callable[[Array], Array]:
    """Return what makes of the original's values of a tensor what the pruned network is to have in their place."""
    kept, found = masks_of(masks, tensor), mixed.get(tensor)
    if found is None:
        return lambda value: kept_values(value, kept)
    matrix, axis = found.matrix, found.axis
    others = {other: mask for other, mask in kept.items() if other != axis}

    def combined(value: Array) -> Array:
        product = np.moveaxis(np.moveaxis(value, axis, -1) @ matrix.astype(value.dtype), -1, axis)
        return kept_values(product, others)

    return combined


def mixed_targets(graph: Graph, masks: Mapping[Axis, BoolArray], calls: Calls, fitting: int) -> dict[str, Mixed]:
    """Return by tensor what is to be made of it so that products keep their values; nothing where none lost a term.

    Args:
        graph: of the original, whose model holds its weights itself.
        masks: keep mask of every axis that lost positions.
        calls: feeds.
        fitting: how many of them, the first ones, are fitted to.
    """
    cut = {node.index: kept for node in graph.nodes if (kept := _kept_terms(graph, node, masks)) is not None}
    if not cut:
        return {}
    layers = {layer.output: layer for layer in find_layers(graph)[0]}
    operands = [(index, slot) for index in cut for slot in (0, 1)]
    made = {place: _made_by(graph, layers, graph.nodes[place[0]].inputs[place[1]]) for place in operands}
    followed = {place: layer for place, layer in made.items() if layer is not None}
    if not followed:
        return {}
    sides = _sides(graph, followed, calls[0])
    products = [graph.nodes[index] for index in cut if _stands_alone(index, sides)]
    if not products:
        return {}
    moments = _moments(graph, products, [calls[number] for number in range(min(fitting, MEASURED))])
    found: dict[str, Mixed] = {}
    for node in products:
        kept, pair = cut[node.index], [sides.get((node.index, slot)) for slot in (0, 1)]
        both = (moments[node.inputs[0], 0], moments[node.inputs[1], 1])
        if len(both[0]) != len(both[1]):  # heads that share their keys
            continue
        for side, combined in zip(pair, _combined(both, kept, [side is not None for side in pair]), strict=True):
            if side is None or combined is None:
                continue
            for name in dict.fromkeys(side.made):
                mask = masks_of(masks, name)[side.channels]
                before = found[name].matrix if name in found else np.eye(len(mask))[:, mask]
                found[name] = Mixed(side.channels, _placed(before, mask, side.places, kept, combined))
    return found


def _stands_alone(product: int, sides: Mapping[tuple[int, int], _Side]) -> bool:
    """Whether no channel that makes one side of a product makes another side, of this one or of another product."""
    own = [key for key in sides if key[0] == product]
    channels = {key: {(side.made[1], int(channel)) for channel in side.places.ravel()} for key, side in sides.items()}
    return bool(own) and all(
        channels[key].isdisjoint(others) for key in own for other, others in channels.items() if other != key
    )


def _kept_terms(graph: Graph, node: Node, masks: Mapping[Axis, BoolArray]) -> BoolArray | None:
    """Return which terms of the sums in a product of activations are kept; None where it is none, or lost none."""
    if node.kind != "MatMul" or any(graph.is_leaf(name) or name in graph.constant_derived for name in node.inputs):
        return None
    pairs = [graph.facts.shape_pair(name) for name in node.inputs]
    ranks = [0 if pair is None else len(pair[0]) for pair in pairs]
    if ranks != [HEADED, HEADED]:
        return None
    first, second = (masks_of(masks, name).get(axis) for name, axis in zip(node.inputs, TERMS, strict=True))
    same = first is not None and second is not None and np.array_equal(first, second)
    return first if same and first is not None and first.any() else None


def _made_by(graph: Graph, layers: Mapping[str, Layer], operand: str) -> tuple[str, Layer] | None:
    """Follow an operand back to the layer that makes it, and the tensor from which on values are only moved.

    None where more than moves and a scale lie between.
    """
    tensor = operand
    while (maker := graph.producers.get(tensor)) is not None and not maker.domain:
        computed = [name for name in maker.inputs if name and not graph.is_leaf(name)]
        scales = maker.op in SCALES and len(computed) == 1 and (maker.op == "Mul" or computed[0] == maker.inputs[0])
        if maker.op in MOVES or scales:
            tensor = maker.inputs[0] if maker.op in MOVES else computed[0]
        else:
            break
    source = [tensor]
    if maker is not None and maker.kind == "Add":
        source = [name for name in maker.inputs if not graph.is_leaf(name)]
    layer = layers.get(source[0]) if len(source) == 1 else None
    return None if layer is None or not layer.alone else (tensor, layer)


def _sides(
    graph: Graph, made: Mapping[tuple[int, int], tuple[str, Layer]], feeds: Mapping[str, Array]
) -> dict[tuple[int, int], _Side]:
    """Return the operands, by product and input, whose dimensions are known channels of what a layer makes.

    What lies in between is run on the numbers of the channels, and on ones for the scale.
    """
    tensors = {tensor: layer.channels for tensor, layer in made.values()}
    values = _session(graph, tensors).run(feeds)
    made = {place: side for place, side in made.items() if values[side[0]].dtype != np.float16}  # too few digits
    tensors = {tensor: layer.channels for tensor, layer in made.values()}
    model = _with_outputs(graph, [graph.nodes[index].inputs[slot] for index, slot in made])
    numbers, ones = {}, {}
    for number, (name, channels) in enumerate(tensors.items()):
        fed, value = f"onnxprune_numbers/{number}", values[name]
        for node in model.graph.node:
            node.input[:] = [fed if read == name else read for read in node.input]
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        model.graph.input.append(onnx.helper.make_tensor_value_info(fed, kind, list(value.shape)))
        shape = [-1 if axis == channels else 1 for axis in range(value.ndim)]
        counted = np.arange(1, value.shape[channels] + 1, dtype=value.dtype).reshape(shape)
        numbers[fed] = np.ascontiguousarray(np.broadcast_to(counted, value.shape))
        ones[fed] = np.ones_like(value)
    session = open_session(model, name="a piece of the model")
    given = {spec.name for spec in session.inputs}
    runs = [
        session.run({name: array for name, array in {**feeds, **extra}.items() if name in given})
        for extra in (numbers, ones)
    ]
    found = {}
    for (index, slot), (tensor, layer) in made.items():
        numbered, scale = (run[graph.nodes[index].inputs[slot]] for run in runs)
        places = _places(numbered, scale, TERMS[slot])
        if places is not None:
            found[index, slot] = _Side((tensor, layer.output, layer.target), layer.channels, places)
    return found


def _places(numbered: Array, scale: Array, terms: int) -> IntArray | None:
    """Return which channel each dimension of each head is; None where that is not the same everywhere."""
    if not 0 < np.abs(scale).max(initial=0.0) < np.inf or np.ptp(scale) > SMALLEST * np.abs(scale).max():
        return None
    placed = np.moveaxis(numbered / scale.flat[0], terms, -1)
    first = placed[0, :, 0]
    if not np.isfinite(placed).all() or np.abs(placed - first[None, :, None]).max(initial=0.0) > 0.1:
        return None
    places: IntArray = np.rint(first).astype(np.int64) - 1
    return places


def _moments(
    graph: Graph, products: Sequence[Node], calls: Sequence[Mapping[str, Array]]
) -> dict[tuple[str, int], FloatArray]:
    """Return by operand, and which side it is, its second moments over all places, [heads, dimensions, dimensions]."""
    operands = [(name, slot) for node in products for slot, name in enumerate(node.inputs)]
    session = _session(graph, [name for name, _ in operands])
    sums: dict[tuple[str, int], Any] = {}
    for feeds in calls:
        found = session.run(feeds)
        for name, slot in dict.fromkeys(operands):
            value = np.moveaxis(found[name].astype(np.float64), TERMS[slot], -1)
            sums[name, slot] = sums.get((name, slot), 0.0) + np.einsum("bhti,bhtj->hij", value, value, optimize=True)
    return sums


def _session(graph: Graph, names: Iterable[str]) -> Session:
    return open_session(_with_outputs(graph, names), name="a piece of the model")


def _with_outputs(graph: Graph, names: Iterable[str]) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names))
    return model


def _combined(
    moments: tuple[FloatArray, FloatArray], kept: BoolArray, free: Sequence[bool]
) -> tuple[FloatArray | None, FloatArray | None]:
    """Return what the sides' kept dimensions are made of, [heads, dimensions, kept]; None: of themselves."""
    if all(free):
        return _of_lower_rank(moments, int(kept.sum()))
    return (_answering(moments[1], kept), None) if free[0] else (None, _answering(moments[0], kept))


def _of_lower_rank(moments: tuple[FloatArray, FloatArray], rank: int) -> tuple[FloatArray, FloatArray]:
    """Return A and B, see above."""
    (root, inverse), (other, other_inverse) = (_roots(each) for each in moments)
    left, values, right = np.linalg.svd(root @ other)
    scale = np.sqrt(values[:, None, :rank])
    return inverse @ left[:, :, :rank] * scale, other_inverse @ np.swapaxes(right, 1, 2)[:, :, :rank] * scale


def _roots(moments: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the square roots of positive semidefinite matrices, and their inverses."""
    values, vectors = np.linalg.eigh(moments)
    values = np.maximum(values, RIDGE * values.mean(axis=1, keepdims=True) + np.finfo(np.float64).tiny)
    root = np.sqrt(values)[:, None, :]
    back = np.swapaxes(vectors, 1, 2)
    return vectors * root @ back, vectors / root @ back


def _answering(other: FloatArray, kept: BoolArray) -> FloatArray:
    """Return the identity on the kept dimensions with C' below it: one side answers for what the `other` loses."""
    inner, cross = other[:, kept][:, :, kept], other[:, kept][:, :, ~kept]
    ridge = RIDGE * np.trace(inner, axis1=1, axis2=2) / len(inner[0]) + np.finfo(np.float64).tiny
    combined = np.zeros((len(other), len(kept), len(inner[0])))
    combined[:, kept] = np.eye(len(inner[0]))
    combined[:, ~kept] = np.swapaxes(np.linalg.solve(inner + ridge[:, None, None] * np.eye(len(inner[0])), cross), 1, 2)
    return combined


def _placed(before: FloatArray, mask: BoolArray, places: IntArray, kept: BoolArray, combined: FloatArray) -> FloatArray:
    """Return a matrix [channels, kept channels] with what the kept dimensions of each head that stays are made of."""
    column = np.cumsum(mask) - 1
    matrix = before.copy()
    for channels, head in zip(places, combined, strict=True):
        if mask[channels[kept]].all():
            matrix[np.ix_(channels, column[channels[kept]])] = head
    return matrix
