"""Weights that several layers share.

Every use of a constant is labelled by itself, because exporters store equal constants once and unrelated layers must
not tie. A weight matrix is another matter: where one is shared, the model shares it (one head on every level of a
pyramid, one block used again and again), and cutting each use its own way would store a copy for each.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from onnxprune.graph.model import Graph
from onnxprune.ops.facts import Fact, Macs, Tie
from onnxprune.values.axes import Axis, Ref


def shared_weights(graph: Graph, facts: Iterable[tuple[Fact, int]]) -> Mapping[Axis, tuple[Tie, ...]]:
    """Return, for the axes of constants that enter the multiply-adds of several nodes, the ties between their uses.

    An axis whose positions are all alike (ones, a blur kernel for every channel) is not tied: which of them go does not
    matter, so one stored constant says nothing of its uses.
    """
    uses: dict[str, list[Ref]] = {}
    for fact, _ in facts:
        for ref in {axis.ref for axis in fact.axes if axis.ref.is_use} if isinstance(fact, Macs) else ():
            known = graph.facts.known.get(ref.name)
            if known is not None and known.is_constant:
                uses.setdefault(graph.root(ref.name), []).append(ref)
    ties: dict[Axis, list[Tie]] = {}
    for root, refs in uses.items():
        refs = sorted(set(refs), key=lambda ref: (ref.node, ref.slot))
        if len(refs) < 2:
            continue
        value = graph.facts.known[root].first
        for dim in (dim for dim in range(value.ndim) if _varies(value, dim)):
            for other in refs[1:]:
                tie = Tie(Axis(refs[0], dim), Axis(other, dim))
                ties.setdefault(tie.a, []).append(tie)
                ties.setdefault(tie.b, []).append(tie)
    return {axis: tuple(found) for axis, found in ties.items()}


def _varies(value: NDArray[np.generic], dim: int) -> bool:
    first = np.take(value, [0], axis=dim) if value.shape[dim] else value
    return bool((value != first).any())
