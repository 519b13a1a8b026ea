"""Sizes that the graph itself reads with Shape: where their later use would forbid a cut.

A number that was computed from the width of a cut axis either sizes something (then it must become the new width) or
takes part in arithmetic (then it must stay what it was). Both are settled by the cut, which replaces the one operand
whose own subgraph would no longer compute the right numbers. That needs an operand that can be written down, see
`written_down`, or one that a Concat puts together from numbers that can, see `fixed_parts`. An operand whose subgraph
simply hands on the width of an axis that is cut alike needs no replacing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.analysis.groups import Components
from onnxprune.analysis.labels import FrozenAxis, Labelled
from onnxprune.graph.constants.folding import Known
from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import Axis, Ref


def frozen_by_sizes(graph: Graph, labelled: Labelled, components: Components) -> Iterator[FrozenAxis]:
    """Yield every labelled axis as frozen whose size reaches an operand that the cut could not write down."""
    counted = {(index, fact.slot, fact.element): fact.axis for fact, index in labelled.counts}
    for name, known in graph.facts.known.items():
        if known.sources is None:
            continue
        obstacle = _obstacle(graph, name)
        if obstacle is not None:
            read = {axis for sources in set(known.sources.ravel()) for axis in _labelled(sources, labelled.sizes)}
            yield from (FrozenAxis(axis, obstacle) for axis in sorted(read))
            continue
        for node, slot in _terminal_uses(graph, name):
            if written_down(graph, node, known, known.first) is not None:
                continue
            reason = f"its size reaches {node.title} together with sizes known only at run time"
            patched = {place for _, start, stop in fixed_parts(graph, name) for place in range(start, stop)}
            for element, sources in enumerate(known.sources.ravel()):
                if element in patched:
                    continue
                axes = _labelled(sources, labelled.sizes)
                sized = counted.get((node.index, slot, element))
                if sized is None:
                    yield from (FrozenAxis(axis, reason) for axis in axes)
                elif not _handed_on(components, known, element, axes, sized, labelled.sizes[sized]):
                    yield from (FrozenAxis(axis, reason) for axis in (sized, *axes))


def written_down(graph: Graph, node: Node, known: Known, needed: NDArray[Any]) -> NDArray[Any] | None:
    """Return an operand of `node` as a constant with the fixed numbers of `needed`, or None where that cannot be.

    The free sizes in a Reshape target can be written down where they copy an input dimension (0, unless `allowzero`
    gives that another meaning), and one more as -1; those of an Expand where the input is so wide already (1).
    """
    fixed = known.fixed
    if bool(fixed.all()):
        return needed
    pair = graph.facts.shape_pair(node.inputs[0])
    result = needed.copy()
    if node.op == "Expand" and pair is not None:
        shift = known.first.size - len(pair[0])
        for element in np.flatnonzero(~fixed):
            value = (int(known.first[element]), int(known.second[element]))
            if element < shift or (pair[0][element - shift], pair[1][element - shift]) != value:
                return None
            result[element] = 1
        return result
    if node.op != "Reshape":
        return None
    rest = []
    source = pair if pair is not None and not node.attrs.get("allowzero", 0) else ((), ())
    for element in np.flatnonzero(~fixed):
        value = (int(known.first[element]), int(known.second[element]))
        if element < len(source[0]) and (source[0][element], source[1][element]) == value:
            result[element] = 0
        else:
            rest.append(element)
    if len(rest) > (0 if -1 in known.first else 1):
        return None
    result[rest] = -1
    return result


def fixed_parts(graph: Graph, name: str) -> Iterator[tuple[int, int, int]]:
    """Yield (slot, start, stop) of the parts that a Concat makes `name` of and that hold no free size.

    Nothing where others read the result as well: a part replaced for one of them would change it for all.
    """
    concat = graph.producers.get(name)
    if concat is None or concat.op != "Concat" or name in graph.outputs or not graph.is_read_once(name):
        return
    start = 0
    for slot, part in enumerate(concat.inputs):
        known = graph.facts.known[part]
        if bool(known.fixed.all()):
            yield slot, start, start + known.first.size
        start += known.first.size


def _labelled(sources: frozenset[tuple[str, int]], sizes: Mapping[Axis, int]) -> list[Axis]:
    axes = [Axis(Ref(tensor), dim) for tensor, dim in sorted(sources)]
    return [axis for axis in axes if axis in sizes]


def _obstacle(graph: Graph, name: str) -> str | None:
    """Return what makes a size untouchable wherever it is used."""
    if name in graph.outputs:
        return f"its size is part of the graph output {name!r}"
    for node in graph.readers.get(name, ()):
        if name in node.captured:
            return f"its size is read inside a subgraph of {node.title}"
    return None


def _terminal_uses(graph: Graph, name: str) -> Iterator[tuple[Node, int]]:
    """Yield the inputs where a value meets activations, rather than further size arithmetic."""
    for node in graph.readers.get(name, ()):
        if not graph.is_folded(node):
            yield from ((node, slot) for slot, read in enumerate(node.inputs) if read == name)


def _handed_on(components: Components, known: Known, element: int, axes: list[Axis], sized: Axis, size: int) -> bool:
    """Whether a number is read straight off an axis that loses positions together with the one that it sizes."""
    if len(axes) != 1 or known.sources is None or len(known.sources.ravel()[element]) != 1:
        return False
    a, b = components.labels(axes[0]), components.labels(sized)
    same = len(a) == len(b) == size == int(known.first.ravel()[element])
    return same and bool(np.array_equal(np.sort(a), np.sort(b)))
