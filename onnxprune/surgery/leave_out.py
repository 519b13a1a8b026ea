"""Leaving out branches: the sums and Concats that read them have an operand less.

A sum with one operand left adds nothing up. It becomes an Identity, which runtimes drop when they load a model, so that
its result keeps its name; and so does a Relu behind it whose input is the result of a Relu already.
"""

from collections.abc import Sequence
from dataclasses import replace

from onnxprune.graph.model import Graph, Node
from onnxprune.surgery.edits import Edits
from onnxprune.values.branches import SUMS, Branch


def leave_out(graph: Graph, edits: Edits, branches: Sequence[Branch]) -> Edits:
    """Return the edits with those that leave out `branches`."""
    dropped = frozenset(join for branch in branches for join in branch.joins)
    return replace(edits, dropped=dropped, idle=_idle(graph, dropped)) if dropped else edits


def _idle(graph: Graph, dropped: frozenset[tuple[int, int]]) -> frozenset[int]:
    """Return the sums with one operand left, and the Relus that change nothing any more."""
    source: dict[str, str] = {}  # result of an idle node -> what it hands on
    found: set[int] = set()
    for node in graph.nodes:
        left = [name for slot, name in enumerate(node.inputs) if (node.index, slot) not in dropped]
        summed = node.kind in SUMS and len(left) == 1 < len(node.inputs)
        if summed or _changes_nothing(graph, node, source):
            found.add(node.index)
            source[node.outputs[0]] = source.get(left[0], left[0])
    return frozenset(found)


def _changes_nothing(graph: Graph, node: Node, source: dict[str, str]) -> bool:
    """Whether a Relu gets, through idle nodes, what a Relu made."""
    if node.kind != "Relu" or node.inputs[0] not in source:
        return False
    maker = graph.producers.get(source[node.inputs[0]])
    return maker is not None and maker.kind == "Relu"
