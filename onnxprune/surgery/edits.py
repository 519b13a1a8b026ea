"""What a cut changes in the model: new values of constants, of size-carrying numbers and of attributes.

Every use of a constant states the value that it needs after the cut. Where all uses of a tensor agree, the tensor
itself is changed; where they differ, the first use keeps the name and the others get copies. A value computed from
constants or from sizes is replaced, at its last use, only where its own subgraph would not compute what is needed. One
that is made of stored tensors place by place, or reshaped, is cut where these are stored, so that half-precision
weights stay so, and integers that are multiplied by a scale.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.sizes import fixed_parts, written_down
from onnxprune.graph.constants.folding import Known
from onnxprune.graph.model import Graph, Node
from onnxprune.graph.shapes.free_sizes import is_free
from onnxprune.graph.shapes.propagate import refold
from onnxprune.surgery.slicing import kept_of
from onnxprune.values.axes import Axis, BoolArray, IntArray, Ref

Array = NDArray[Any]
Key = tuple[Any, ...]  # what tells two needed values of one tensor apart: masks by axis and changed numbers


@dataclass(frozen=True, eq=False)
class Edits:
    """The changes of one cut.

    Attributes:
        tensors: new values of initializers and Constant nodes, by the tensor's name.
        operands: (node, slot) -> name of a new initializer that this input reads from now on.
        added: the new initializers.
        attributes: (node, attribute) -> new value; None removes it.
        copies: new initializer -> the shared tensor that it was copied from.
        widths: new size of every axis that changes, of activations and of constants by name; None where it is free.
        stale: tensors whose recorded shape is wrong in the input file already, and not worth keeping.
        dropped: (node, slot) of the operands of sums and Concats that are read no more, as their branches go.
        idle: nodes that hand on their first input as it is, once these operands are gone.
    """

    tensors: Mapping[str, Array]
    operands: Mapping[tuple[int, int], str]
    added: Mapping[str, Array]
    attributes: Mapping[tuple[int, str], Any]
    copies: Mapping[str, str]
    widths: Mapping[tuple[str, int], int | None]
    stale: frozenset[str] = frozenset()
    dropped: frozenset[tuple[int, int]] = frozenset()
    idle: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Need:
    """What one use of a known tensor needs: no positions outside the masks `cuts`, new elements as in `numbers`."""

    node: int
    slot: int
    name: str
    original: Array
    cuts: Mapping[int, BoolArray] = field(default_factory=dict)
    numbers: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def key(self) -> Key:
        """What tells this need from others of the same tensor; () where it is the original value."""
        return (*((axis, mask.tobytes()) for axis, mask in sorted(self.cuts.items())), *sorted(self.numbers.items()))

    @cached_property
    def value(self) -> Array:
        """The needed value."""
        value = self.original
        if self.numbers:
            value = value.copy()
            value.ravel()[list(self.numbers)] = list(self.numbers.values())
        return kept_of(value, self.cuts)


@dataclass
class _Draft:
    tensors: dict[str, Array] = field(default_factory=dict)
    operands: dict[tuple[int, int], str] = field(default_factory=dict)
    added: dict[str, Array] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)


def plan_edits(analysis: Analysis, masks: Mapping[Axis, BoolArray]) -> Edits:
    """Work out what cutting the positions outside `masks` (True = kept) changes in the model."""
    graph = analysis.graph
    numbers, attributes = _counted(analysis, masks)
    numbers.update(_renumbered(analysis, masks))
    attributes.update({(n, pin.attribute): pin.value for pin, n in analysis.pins if pin.axis in masks})
    kept = {(axis.ref.name, axis.dim): _share(mask) for axis, mask in masks.items() if not axis.ref.is_use}
    by_use: dict[Ref, dict[int, BoolArray]] = {}
    for axis, mask in masks.items():
        if axis.ref.is_use:
            by_use.setdefault(axis.ref, {})[axis.dim] = mask
    draft = _Draft()
    needs: dict[str, list[Need]] = {}
    for node in graph.nodes:
        for need in _needs(graph, node, by_use, numbers):
            needs.setdefault(graph.root(need.name), []).append(need)
    moved = _hand_up(graph, needs)
    kept.update({(name, axis): _share(mask) for name, need in moved.items() for axis, mask in need.cuts.items()})
    recomputed = refold(graph.model, [n.attrs for n in graph.nodes], graph.facts, _by_tensor(kept))
    taken = {*graph.facts.known, *graph.producers, *graph.inputs}
    for root, uses in needs.items():
        if _holds_value(graph, root):
            _settle_stored(graph, root, uses, draft, taken, moved)
        else:
            _settle_computed(graph, root, uses, recomputed, draft, taken)
    _create_operands(graph, numbers, draft, taken)
    widths = dict(_activation_widths(graph, kept))
    widths.update(_computed_widths(graph, draft, recomputed))
    stale = _stale_shapes(graph, widths) if masks else frozenset()
    return Edits(draft.tensors, draft.operands, draft.added, attributes, draft.copies, widths, stale)


def _counted(
    analysis: Analysis, masks: Mapping[Axis, BoolArray]
) -> tuple[dict[tuple[int, int], dict[int, int]], dict[tuple[int, str], Any]]:
    """Evaluate the size-carrying numbers: {(node, slot): {element: count}} for operands, and changed attributes.

    A number is written only where its axis loses positions, but then even where the count is what it was: a bound
    that counts from the back has to become one that counts from the front. Numbers that stand nowhere yet (the sizes
    of a Split into equal parts) come as a whole, and only where the parts are equal no more.
    """
    counted: dict[tuple[int, int | str], dict[int, int]] = {}
    changed: dict[tuple[int, int | str], dict[int, int]] = {}
    for count, index, labelling in analysis.counts:
        place, mask = (index, count.slot), masks.get(count.axis)
        if mask is not None and count.under is not None:
            mask = labelling.alone(count.axis, mask)
        if mask is not None:
            kept = int(np.count_nonzero(mask if count.at is None else mask[count.at])) * _turns(analysis, count.axis)
            changed.setdefault(place, {})[count.element] = kept
        else:
            kept = len(count.at) if count.at is not None else analysis.sizes[count.axis]
            kept *= _turns(analysis, count.axis)
        counted.setdefault(place, {})[count.element] = kept
    numbers: dict[tuple[int, int], dict[int, int]] = {}
    attributes: dict[tuple[int, str], Any] = {}
    for (index, slot), counts in changed.items():
        node = analysis.graph.nodes[index]
        everything = counted[index, slot]
        missing = slot not in node.attrs if isinstance(slot, str) else not (*node.inputs, *[""] * slot)[slot]
        if missing and len(set(everything.values())) == 1:
            continue
        if isinstance(slot, int):
            numbers[index, slot] = everything if missing else counts
        elif missing:
            attributes[index, slot] = [everything[element] for element in sorted(everything)]
        elif isinstance(node.attrs[slot], int):
            attributes[index, slot] = counts[0]
        else:
            attributes[index, slot] = [counts.get(element, old) for element, old in enumerate(node.attrs[slot])]
    return numbers, attributes


def _needs(
    graph: Graph,
    node: Node,
    by_use: Mapping[Ref, Mapping[int, BoolArray]],
    numbers: Mapping[tuple[int, int], Mapping[int, int]],
) -> Iterator[Need]:
    """Yield what every known operand of `node` has to be after the cut.

    Arithmetic on constants and sizes is settled where its results are used, but for numbers in it that are counts.
    """
    folded = graph.is_folded(node)
    for slot, name in enumerate(node.inputs):
        known = graph.facts.known.get(name) if name else None
        if known is None or (folded and (node.index, slot) not in numbers):
            continue
        cuts = by_use.get(Ref(name, node.index, slot), {})
        changed = {
            element: count
            for element, count in numbers.get((node.index, slot), {}).items()
            if int(known.first.ravel()[element]) != count
        }
        yield Need(node.index, slot, name, known.first, cuts, changed)


def _renumbered(
    analysis: Analysis, masks: Mapping[Axis, BoolArray]
) -> Iterator[tuple[tuple[int, int], dict[int, int]]]:
    """Yield (node, slot) and the new numbers of every table that points at positions of a cut axis."""
    for fact, index in analysis.renumbers:
        mask = masks.get(fact.axis)
        if mask is not None:
            table = analysis.graph.facts.known[analysis.graph.nodes[index].inputs[fact.slot]].first
            kept_before: IntArray = np.cumsum(mask) - mask
            yield (index, fact.slot), dict(enumerate(kept_before[table].ravel().tolist()))


def _share(mask: BoolArray) -> Fraction:
    return Fraction(int(mask.sum()), len(mask))


def _turns(analysis: Analysis, axis: Axis) -> int:
    """Return how often the labels of `axis` come round with the nominal sizes: once, unless its size is free."""
    return analysis.graph.facts.shapes[0][axis.ref.name][axis.dim] // max(1, analysis.sizes[axis])


def _holds_value(graph: Graph, root: str) -> bool:
    """Whether the value stands in the file (an initializer or a Constant node) rather than being computed."""
    return root in graph.initializers or graph.producers[root].op == "Constant"


def _hand_up(graph: Graph, needs: dict[str, list[Need]]) -> dict[str, Need]:
    """Turn needs of what is made of constants place by place into needs of these constants, where all uses agree.

    Changes `needs`; returns by name the values that come out right once their parts are cut.
    """
    moved: dict[str, Need] = {}
    for node in reversed(graph.nodes):
        name = node.outputs[0] if node.outputs else ""
        uses = needs.get(name, [])
        if not uses or len({need.key for need in uses}) > 1 or uses[0].numbers or not uses[0].cuts:
            continue
        found = _MADE_OF.get(node.kind, _of_parts)(graph, node, uses[0])
        if not found or _read_elsewhere(graph, name, moved):
            continue
        for need in found:
            needs.setdefault(graph.root(need.name), []).append(need)
        moved[name] = needs.pop(name)[0]
    return moved


def _of_parts(graph: Graph, node: Node, need: Need) -> list[Need]:
    """Return what the constants that a value is made of place by place need; nothing where it is not made so."""
    found = []
    for part in graph.parts(node.outputs[0]):
        places = [(part.axes[axis], mask) for axis, mask in need.cuts.items()]
        cuts = {place: mask for place, mask in places if place is not None}
        found.append(Need(node.index, part.slot, part.name, graph.facts.known[part.name].first, cuts))
    return found


def _of_reshaped(graph: Graph, node: Node, need: Need) -> list[Need]:
    """Return what a reshaped constant and its target shape need; nothing where no positions of axes are to go there."""
    source, target = (graph.facts.known.get(name) for name in node.inputs)
    if source is None or target is None or not source.is_constant or not target.is_constant:
        return []
    kept = np.ones(need.original.shape, dtype=bool)
    for axis, mask in need.cuts.items():
        kept &= mask.reshape([-1 if place == axis else 1 for place in range(kept.ndim)])
    kept = kept.reshape(source.first.shape)
    rank = range(kept.ndim)
    masks = {axis: np.asarray(kept.any(axis=tuple(other for other in rank if other != axis))) for axis in rank}
    if kept.sum() != np.prod([mask.sum() for mask in masks.values()]):
        return []
    cuts = {axis: mask for axis, mask in masks.items() if not mask.all()}
    numbers = {axis: int(mask.sum()) for axis, mask in need.cuts.items() if target.first[axis] > 0}
    data = Need(node.index, 0, node.inputs[0], source.first, cuts)
    return [data, Need(node.index, 1, node.inputs[1], target.first, {}, numbers)]


def _of_filled(graph: Graph, node: Node, need: Need) -> list[Need]:
    """Return what the shape of a tensor that is filled with one number needs."""
    shape = graph.facts.known.get(node.inputs[0])
    if shape is None or not shape.is_constant:
        return []
    return [
        Need(
            node.index, 0, node.inputs[0], shape.first, {}, {axis: int(mask.sum()) for axis, mask in need.cuts.items()}
        )
    ]


_MADE_OF = {"ConstantOfShape": _of_filled, "Reshape": _of_reshaped}


def _settle_stored(
    graph: Graph, root: str, uses: list[Need], draft: _Draft, taken: set[str], moved: Mapping[str, Need]
) -> None:
    """Change a stored tensor in place for its first use and make copies for the uses that need other values."""
    by_key: dict[Key, list[Need]] = {}
    for need in uses:
        by_key.setdefault(need.key, []).append(need)
    owner: Key = () if _read_elsewhere(graph, root, moved) else uses[0].key
    for key, needs in by_key.items():
        if key == owner:
            if key:
                draft.tensors[root] = needs[0].value
            continue
        copy = _fresh_name(root, taken)
        draft.added[copy] = needs[0].value
        draft.copies[copy] = root
        draft.operands.update({(need.node, need.slot): copy for need in needs})
    graph.weights.release()  # what was read of a large file for this tensor


def _read_elsewhere(graph: Graph, root: str, moved: Mapping[str, Need]) -> bool:
    """Whether something needs the original value: size arithmetic, a subgraph or a graph output.

    Readers whose result is in `moved` have stated their need.
    """
    names = [root]
    for name in names:
        if name in graph.outputs:
            return True
        for node in graph.readers.get(name, ()):
            if name in node.captured:
                return True
            if graph.is_folded(node) and node.outputs[0] not in moved:
                if node.op != "Identity":
                    return True
                names.append(node.outputs[0])
    return False


def _settle_computed(
    graph: Graph, root: str, uses: list[Need], recomputed: Mapping[str, Known], draft: _Draft, taken: set[str]
) -> None:
    """Replace a computed operand by a constant where its subgraph would not compute the needed value by itself."""
    known = graph.facts.known
    after = recomputed.get(root)
    names: dict[tuple[Key, bytes], str] = {}
    for need in uses:
        if after is not None and _agrees(after, need.value):
            continue
        # What can be copied from an input (0) differs from reader to reader, so the key alone does not tell.
        written = None if after is None else written_down(graph, graph.nodes[need.node], known[root], need.value)
        if after is not None and written is None:
            _settle_parts(graph, need, after, draft, taken)
            continue
        value = need.value if written is None else written
        place = (need.key, value.tobytes())
        if place not in names:
            names[place] = _fresh_name(root, taken)
            draft.added[names[place]] = value
        draft.operands[need.node, need.slot] = names[place]


def _settle_parts(graph: Graph, need: Need, after: Known, draft: _Draft, taken: set[str]) -> None:
    """Replace those parts of a concatenated operand that would not come out as needed."""
    concat = graph.producers[need.name]
    for slot, start, stop in fixed_parts(graph, need.name):
        part = need.value[start:stop]
        if not np.array_equal(after.first[start:stop], part):
            name = _fresh_name(concat.inputs[slot], taken)
            draft.added[name] = part
            draft.operands[concat.index, slot] = name


def _agrees(after: Known, needed: Array) -> bool:
    """Whether all numbers come out as needed."""
    return bool(np.array_equal(after.first, needed))


def _create_operands(
    graph: Graph, numbers: Mapping[tuple[int, int], Mapping[int, int]], draft: _Draft, taken: set[str]
) -> None:
    """Write down the sizes of a Split that relied on equal parts, where the parts are equal no more."""
    for (index, slot), counts in numbers.items():
        node = graph.nodes[index]
        if slot < len(node.inputs) and node.inputs[slot]:
            continue
        name = _fresh_name(f"{node.outputs[0]}_sizes", taken)
        draft.added[name] = np.asarray([counts[element] for element in sorted(counts)], dtype=np.int64)
        draft.operands[index, slot] = name


def _computed_widths(
    graph: Graph, draft: _Draft, recomputed: Mapping[str, Known]
) -> Iterator[tuple[tuple[str, int], int]]:
    """Yield the new sizes of the values that nodes compute from constants and sizes."""
    for name, known in graph.facts.known.items():
        root = graph.root(name)
        after = draft.tensors.get(root)
        if after is None and name in recomputed:
            after = recomputed[name].first
        if name not in graph.producers or after is None or after.ndim != known.first.ndim:
            continue
        for axis, (old, new) in enumerate(zip(known.first.shape, after.shape, strict=True)):
            if old != new:
                yield (name, axis), new


def _activation_widths(
    graph: Graph, kept: Mapping[tuple[str, int], Fraction]
) -> Iterator[tuple[tuple[str, int], int | None]]:
    """Yield the new sizes of axes of activations."""
    for (name, axis), share in kept.items():
        fixed = graph.facts.is_fixed(name, axis)
        yield (name, axis), int(graph.facts.shapes[0][name][axis] * share) if fixed else None


def _stale_shapes(graph: Graph, widths: Mapping[tuple[str, int], int | None]) -> frozenset[str]:
    """Return the tensors whose recorded shape contradicts the inferred one where the cut does not rewrite it."""
    stale = set()
    for info in graph.model.graph.value_info:
        pair, dims = graph.facts.shape_pair(info.name), info.type.tensor_type.shape.dim
        if pair is None or not info.type.tensor_type.HasField("shape"):
            continue
        wrong = len(dims) != len(pair[0]) or any(
            not is_free(dim) and first == second != dim.dim_value and (info.name, axis) not in widths
            for axis, (dim, first, second) in enumerate(zip(dims, *pair, strict=True))
        )
        if wrong:
            stale.add(info.name)
    return frozenset(stale)


def _by_tensor(kept: Mapping[tuple[str, int], Fraction]) -> Mapping[str, Mapping[int, Fraction]]:
    shares: dict[str, dict[int, Fraction]] = {}
    for (name, axis), share in kept.items():
        shares.setdefault(name, {})[axis] = share
    return shares


def _fresh_name(base: str, taken: set[str]) -> str:
    number = 1
    while f"{base}_cut{number}" in taken:
        number += 1
    name = f"{base}_cut{number}"
    taken.add(name)
    return name
