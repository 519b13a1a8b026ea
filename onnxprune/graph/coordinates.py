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
        channels: how many there are.
        read: places of a channel before.
        made: places of a channel behind.
        base: where the first places are read, as node and input, where they are stored.
        counted: where the number of channels is read, where the first places are computed from it and from the batch.
    """

    channels: int
    read: int
    made: int
    base: tuple[int, int] | None = None
    counted: tuple[int, int] | None = None


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
    first, second = (_unpooling(graph, node, trial) for trial in (0, 1))
    same = first is not None and second is not None and (first.read, first.made) == (second.read, second.made)
    return first if same else None


def _unpooling(graph: Graph, node: Node, trial: int) -> Unpooling | None:
    data, indices, updates, made = (_shape(graph, name, trial) for name in (*node.inputs[:3], node.outputs[0]))
    if (len(data), len(indices), len(updates)) != (1, 2, 1) or indices[1] != 1:
        return None
    name, maker = _unflattened(graph, node.inputs[1])
    if maker is None or maker.op != "Add" or not graph.is_read_once(name):
        return None
    pools = [_pooling(graph, read) for read in maker.inputs]
    shape = _shape(graph, name, trial)
    if sum(pool is not None for pool in pools) != 1 or len(shape) < 3:
        return None
    slot = pools.index(None)
    read, images = math.prod(shape[2:]), math.prod(shape[:2])
    plane, rest = divmod(made[0], images)
    whole = _shape(graph, next(pool for pool in pools if pool is not None).inputs[0], trial)
    if rest or plane < math.prod(whole[2:]) or read * images != updates[0]:
        return None
    if graph.is_leaf(maker.inputs[slot]):
        known = graph.facts.known[maker.inputs[slot]]
        base = (known.first, known.second)[trial]
        first = (np.arange(images) * plane).reshape(shape[:2] + (1,) * (len(shape) - 2))
        fits = np.issubdtype(base.dtype, np.integer) and base.shape == first.shape and bool((base == first).all())
        return Unpooling(shape[1], read, plane, base=(maker.index, slot)) if fits and known.fixed.all() else None
    counted = _counted_planes(graph, maker.inputs[slot], shape[1], plane)
    return None if counted is None else Unpooling(shape[1], read, plane, counted=counted)


def _unflattened(graph: Graph, name: str) -> tuple[str, Node | None]:
    """Return what a tensor is a reshaped copy of, and its maker, as far as nothing else reads the copies."""
    maker = graph.maker(name)
    while maker is not None and maker.op in _FLATTENED and graph.is_read_once(name):
        name = maker.inputs[0]
        maker = graph.maker(name)
    return name, maker


def _counted_planes(graph: Graph, name: str, channels: int, plane: int) -> tuple[int, int] | None:
    """Return where the width is read of channels that are numbered through all images, and multiplied by `plane`."""
    name, times = _unflattened(graph, name)
    factor = None if times is None or times.op != "Mul" else _by_constant(graph, times, plane)
    if factor is None or not graph.is_read_once(name):
        return None
    assert times is not None
    _, numbers = _unflattened(graph, times.inputs[1 - factor])
    return None if numbers is None else _numbering(graph, numbers, channels)


def _numbering(graph: Graph, node: Node, channels: int) -> tuple[int, int] | None:
    """Return where the width is read of a Range that numbers the channels of all images."""
    if node.op != "Range" or not graph.is_read_once(node.outputs[0]):
        return None
    first, limit, step = (graph.facts.known.get(name) for name in node.inputs[:3])
    if first is None or limit is None or step is None:
        return None
    if [(int(known.first), int(known.second)) for known in (first, step)] != [(0, 0), (1, 1)]:
        return None
    product = graph.producers.get(node.inputs[1])
    if product is None or product.op != "Mul" or not graph.is_read_once(node.inputs[1]):
        return None
    slot = _by_constant(graph, product, channels)
    return None if slot is None else (product.index, slot)


def _by_constant(graph: Graph, node: Node, number: int) -> int | None:
    """Return which of two inputs is a constant of one number, and this one."""
    for slot, name in enumerate(node.inputs):
        known = graph.facts.known.get(name)
        if known is not None and known.is_constant and known.first.size == 1 and int(known.first.ravel()[0]) == number:
            return slot
    return None


def numbered_channels(graph: Graph, node: Node) -> int | None:
    """Return how many channels a Range numbers that serves an `unpooling` alone; None where it serves anything else."""
    name = node.outputs[0]
    while graph.is_read_once(name) and name not in graph.outputs:
        (reader,) = graph.readers[name]
        if reader.op == "ScatterND":
            found = unpooling(graph, reader)
            return found.channels if found is not None and found.counted is not None else None
        if reader.domain or reader.op not in (*_FLATTENED, "Mul", "Add"):
            return None
        name = reader.outputs[0]
    return None


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
