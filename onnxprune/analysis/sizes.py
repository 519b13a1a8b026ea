"""Sizes that the graph itself reads with Shape: where their later use would forbid a cut.

A number that was computed from the width of a cut axis either sizes something (then it must become the new width) or
takes part in arithmetic (then it must stay what it was). Both are settled by the cut, which replaces the one operand
whose own subgraph would no longer compute the right numbers. That needs an operand that can be written down: all of its
numbers known, or a Reshape target with one free size, which becomes -1. An operand whose subgraph simply hands on the
width of an axis that is cut alike needs no replacing.
"""

from collections.abc import Iterator

import numpy as np

from onnxprune.analysis.groups import Components
from onnxprune.analysis.labels import Frost, Labelled
from onnxprune.graph.folding import Known
from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import Axis, Ref


def frozen_by_sizes(graph: Graph, labelled: Labelled, components: Components) -> Iterator[Frost]:
    """Yield a frost for every labelled axis whose size reaches an operand that the cut could not write down."""
    counted = {(index, fact.slot, fact.element): fact.axis for fact, index in labelled.counts if fact.at is None}
    for name, known in graph.facts.known.items():
        if known.sources is None:
            continue
        for element, sources in enumerate(known.sources.ravel()):
            axes = [
                axis for axis in (Axis(Ref(tensor), dim) for tensor, dim in sorted(sources)) if axis in labelled.sizes
            ]
            if not axes:
                continue
            obstacle = _obstacle(graph, name, known)
            for node, slot in _terminal_uses(graph, name) if obstacle is None else ():
                own = counted.get((node.index, slot, element))
                handed_on = len(sources) == 1 and own is not None and _same_width(components, axes[0], own)
                if not handed_on and not _writable(node, known):
                    obstacle = f"its size reaches {node.title} together with sizes known only at run time"
            if obstacle is not None:
                yield from (Frost(axis, obstacle) for axis in axes)


def _obstacle(graph: Graph, name: str, known: Known) -> str | None:
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
        if not all(graph.is_leaf(output) for output in node.outputs if output):
            yield from ((node, slot) for slot, read in enumerate(node.inputs) if read == name)


def _writable(node: Node, known: Known) -> bool:
    """Whether the operand could be replaced by a constant: no free size in it, or one that -1 can stand for."""
    loose = int(known.fixed.size - known.fixed.sum())
    return loose == 0 or (node.op == "Reshape" and loose == 1 and -1 not in known.first)


def _same_width(components: Components, source: Axis, target: Axis) -> bool:
    """Whether two axes lose positions together, whatever is cut."""
    a, b = components.labels(source), components.labels(target)
    return len(a) == len(b) and bool(np.array_equal(np.sort(a), np.sort(b)))
