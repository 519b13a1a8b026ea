"""Where indices come from that are computed while the model runs: from vectors of places, and from poolings.

Exporters write the assignment to a slice, and unpooling, as a ScatterND whose indices they put together: a vector of
places for every axis, widened and concatenated; or the place that a pooling found within its channel, added to the
first place of that channel.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import IntArray

_WIDENED = frozenset(("Cast", "Expand", "Identity", "Reshape", "Unsqueeze"))
_FLATTENED = frozenset(("Cast", "Flatten", "Identity", "Reshape", "Unsqueeze"))


@dataclass(frozen=True, eq=False)
class Coordinate:
    """One number of every index, which a vector says that is known before the model runs.

    Attributes:
        uses: where the vector is read, as node and input, first of all on the way to the indices. A stored one has this
            use alone; of one that is computed, the others ask for its size only.
        name: the vector.
        dim: the axis of it that has more than one place; None: it has one.
        along: the axis of the indices that its numbers lie along; None: they are all the same.
        places: its numbers.
    """

    uses: tuple[tuple[int, int], ...]
    name: str
    dim: int | None
    along: int | None
    places: IntArray


@dataclass(frozen=True, eq=False)
class Unpooling:
    """Indices into a flat tensor: the first place of a channel, and the place in it that a pooling found.

    Attributes:
        base: where the first places are read, as node and input.
        channels: how many there are.
        read: places of a channel before.
        made: places of a channel behind.
    """

    base: tuple[int, int]
    channels: int
    read: int
    made: int


def coordinates(graph: Graph, name: str, depth: int) -> tuple[Coordinate | None, ...]:
    """Return, for every number of the indices `name`, the vector that says it; None where none is known."""
    maker = graph.maker(name)
    rank = len(_shape(graph, name))
    if depth == 1:
        parts: tuple[str, ...] = (name,)
    elif maker is not None and maker.op == "Concat" and maker.attrs.get("axis") in (-1, rank - 1):
        parts = maker.inputs
    else:
        return (None,) * depth
    if len(parts) != depth or not graph.is_read_once(name):
        return (None,) * depth
    return tuple(_coordinate(graph, part, rank) for part in parts)


def _coordinate(graph: Graph, name: str, rank: int) -> Coordinate | None:
    """Follow one number of the indices back to a vector."""
    way: list[Node] = []
    while not graph.is_leaf(name):
        maker = graph.maker(name)
        if maker is None or maker.op not in _WIDENED or not graph.is_read_once(name) or name in graph.outputs:
            return None
        way.append(maker)
        name = maker.inputs[0]
    known = graph.facts.known[name]
    wide = [axis for axis, size in enumerate(known.first.shape) if size != 1]
    if not way or len(wide) > 1 or not known.fixed.all() or not np.issubdtype(known.first.dtype, np.integer):
        return None
    use = (way[-1].index, 0)
    uses = [] if known.is_constant else [(node.index, slot) for node, slot in _uses(graph, name)]
    others = [other for other in uses if other != use]
    if name in graph.outputs or not all(_only_sized(graph, graph.nodes[node].outputs) for node, _ in others):
        return None
    along = wide[0] if wide else None
    for node in reversed(way):
        along = None if along is None else _behind(graph, node, along)
    if bool(wide) != (along is not None) or along == rank - 1:
        return None
    return Coordinate((use, *others), name, wide[0] if wide else None, along, known.first.ravel().astype(np.int64))


def _behind(graph: Graph, node: Node, axis: int) -> int | None:
    """Return where an axis lies behind a node that widens a tensor."""
    before, after = ([_shape(graph, name, trial) for trial in (0, 1)] for name in (node.inputs[0], node.outputs[0]))
    if node.op == "Expand":
        return axis + len(after[0]) - len(before[0])
    if node.op not in ("Reshape", "Unsqueeze"):
        return axis
    places = {_same(*pair, axis) for pair in zip(before, after, strict=True)}
    return places.pop() if len(places) == 1 else None


def _same(before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
    """Return where an axis lies where axes of one place alone come or go."""
    wide, kept = ([place for place, size in enumerate(shape) if size != 1] for shape in (before, after))
    if axis not in wide or [before[place] for place in wide] != [after[place] for place in kept]:
        return None
    return kept[wide.index(axis)]


def _uses(graph: Graph, name: str) -> Iterator[tuple[Node, int]]:
    """Yield where a tensor is read by what is computed while the model runs."""
    for node in graph.readers.get(name, ()):
        if not graph.is_folded(node):
            yield from ((node, slot) for slot, read in enumerate(node.inputs) if read == name)


def _only_sized(graph: Graph, names: Sequence[str]) -> bool:
    """Whether nothing but the sizes of tensors is read, however often they are added to others."""
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in graph.outputs:
            return False
        for node in graph.readers.get(name, ()):
            if node.op in ("Shape", "Size") and not node.domain:
                continue
            if node.domain or node.op not in ("Add", "Mul", "Sub", "Expand") or name in node.captured:
                return False
            waiting.extend(node.outputs)
    return True


def unpooling(graph: Graph, node: Node) -> Unpooling | None:
    """Return what the indices of a ScatterND into a flat tensor are made of, where these are places of a pooling."""
    data, indices, updates, made = (_shape(graph, name) for name in (*node.inputs[:3], node.outputs[0]))
    if (len(data), len(indices), len(updates)) != (1, 2, 1) or indices[1] != 1 or _is_free(graph, node):
        return None
    name = node.inputs[1]
    maker = graph.maker(name)
    while maker is not None and maker.op in _FLATTENED and graph.is_read_once(name):
        name = maker.inputs[0]
        maker = graph.maker(name)
    if maker is None or maker.op != "Add" or not graph.is_read_once(name):
        return None
    leaves = [slot for slot in (0, 1) if graph.is_leaf(maker.inputs[slot])]
    if len(leaves) != 1:
        return None
    pool = _pooling(graph, maker.inputs[1 - leaves[0]])
    shape = _shape(graph, name)
    if pool is None or len(shape) < 3:
        return None
    base = graph.facts.known[maker.inputs[leaves[0]]].first
    read, images = math.prod(shape[2:]), math.prod(shape[:2])
    plane, rest = divmod(made[0], images)
    whole = _shape(graph, pool.inputs[0])
    first = (np.arange(images) * plane).reshape(shape[:2] + (1,) * (len(shape) - 2))
    fits = np.issubdtype(base.dtype, np.integer) and base.shape == first.shape and bool((base == first).all())
    if rest or not fits or plane < math.prod(whole[2:]) or read * images != updates[0]:
        return None
    return Unpooling((maker.index, leaves[0]), shape[1], read, plane)


def _is_free(graph: Graph, node: Node) -> bool:
    return any(_shape(graph, name, 0) != _shape(graph, name, 1) for name in (*node.inputs, *node.outputs))


def _pooling(graph: Graph, name: str) -> Node | None:
    """Return the pooling of which a tensor says the places within each channel."""
    maker = graph.maker(name)
    if maker is None or maker.op != "Sub":
        return None
    first, second = (_indices_of(graph, source) for source in maker.inputs)
    same = first is not None and second is not None and first.inputs[0] == second.inputs[0]
    return first if same else None


def _indices_of(graph: Graph, name: str) -> Node | None:
    """Return the MaxPool whose places a tensor holds, in all channels."""
    maker = graph.maker(name)
    while maker is not None and (maker.op == "Identity" or (maker.op == "Slice" and _keeps_channels(graph, maker))):
        name = maker.inputs[0]
        maker = graph.maker(name)
    return maker if maker is not None and maker.op == "MaxPool" and maker.outputs[1:2] == (name,) else None


def _keeps_channels(graph: Graph, node: Node) -> bool:
    """Whether a Slice leaves the first two axes as they are."""
    axes = graph.axes_of(node, 3)
    rank = len(_shape(graph, node.inputs[0]))
    return axes is not None and rank > 0 and all(axis % rank > 1 for axis in axes)


def places_within(graph: Graph, node: Node) -> bool:
    """Whether the indices of a MaxPool, which count over all channels, serve as places within one alone.

    So they do where they are subtracted from those of a pooling of the same tensor.
    """
    waiting = list(node.outputs[1:2])
    while waiting:
        name = waiting.pop()
        if name in graph.outputs:
            return False
        for reader in graph.readers.get(name, ()):
            if reader.domain or name in reader.captured:
                return False
            if reader.op == "Identity" or (reader.op == "Slice" and _keeps_channels(graph, reader)):
                waiting.extend(reader.outputs)
            elif reader.op != "MaxUnpool" and _pooling(graph, reader.outputs[0]) is None:
                return False
    return True


def _shape(graph: Graph, name: str, trial: int = 0) -> tuple[int, ...]:
    pair = graph.facts.shape_pair(name)
    return () if pair is None else pair[trial]
