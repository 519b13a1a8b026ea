"""Sizes that the graph itself reads with Shape: where their later use would forbid a cut.

A number that was computed from the width of a cut axis either sizes something (then it must become the new width) or
takes part in arithmetic (then it must stay what it was). Both are settled by the cut, which replaces the one operand
whose own subgraph would no longer compute the right numbers. That needs an operand that can be written down: all of its
numbers known, or a Reshape target with one free size, which becomes -1.
"""

from collections.abc import Iterator, Mapping

from onnxprune.analysis.labels import Frost
from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import Axis, Ref


def frozen_by_sizes(graph: Graph, sizes: Mapping[Axis, int]) -> Iterator[Frost]:
    """Yield a frost for every labelled axis whose size reaches an operand that the cut could not write down."""
    for name, known in graph.facts.known.items():
        if known.sources is None:
            continue
        axes = [Axis(Ref(tensor), axis) for tensor, axis in frozenset().union(*known.sources.ravel())]
        labelled = [axis for axis in axes if axis in sizes]
        if not labelled:
            continue
        reason = _obstacle(graph, name)
        if reason is not None:
            yield from (Frost(axis, reason) for axis in sorted(labelled))


def _obstacle(graph: Graph, name: str) -> str | None:
    if name in graph.outputs:
        return f"its size is part of the graph output {name!r}"
    known = graph.facts.known[name]
    loose = int(known.fixed.size - known.fixed.sum())
    for node in graph.readers.get(name, ()):
        if name in node.captured:
            return f"its size is read inside a subgraph of {node.title}"
        if loose and _is_terminal(graph, node):
            writable = node.op == "Reshape" and loose == 1 and -1 not in known.first
            if not writable:
                return f"its size reaches {node.title} together with sizes known only at run time"
    return None


def _is_terminal(graph: Graph, node: Node) -> bool:
    """Whether `node` works on activations, rather than being size arithmetic itself."""
    return not all(graph.is_leaf(output) for output in node.outputs if output)
