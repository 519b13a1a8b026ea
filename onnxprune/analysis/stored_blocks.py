"""Weights that are stored as integers with a scale for every block of them: the positions of a block go together.

Written out, such a weight is cast, reshaped to [.., blocks, positions], multiplied by the scales and reshaped back. The
integers can be cut where they lie only by whole blocks; anything else would make floats of them, and a larger file.
"""

from collections.abc import Iterator

import numpy as np

from onnxprune.analysis.labels import AppliedTie, Labelled
from onnxprune.graph.model import Graph
from onnxprune.ops.reshape import common_factors


def block_ties(graph: Graph, labelled: Labelled) -> Iterator[AppliedTie]:
    """Yield for every use of such a weight the ties between the positions of each block."""
    for axis, size in labelled.sizes.items():
        if axis.ref.is_use and graph.is_leaf(axis.ref.name) and _is_of_integers(graph, axis.ref.name):
            block = _block(graph, axis.ref.name, axis.dim)
            if block > 1 and size % block == 0:
                every = np.arange(size)
                yield AppliedTie(axis.ref.node, axis, axis, every, every // block * block)


def _is_of_integers(graph: Graph, name: str) -> bool:
    stored = graph.stored(name)
    return stored != name and graph.facts.known[stored].first.dtype.kind in "iu"


def _block(graph: Graph, name: str, dim: int) -> int:
    """Return how many neighbours on an axis of a computed constant are stored along axes of their own; 1: none."""
    node = graph.producers.get(graph.root(name))
    if node is None or node.op == "Constant":
        return 1
    if node.op == "Reshape":
        source, made = (graph.facts.known[each].first.shape for each in (node.inputs[0], name))
        factors = [factor for factor in common_factors(source, made) if factor.target == dim]
        if len(factors) > 1:
            return max(factor.target_stride for factor in factors)
        return _block(graph, node.inputs[0], factors[0].source) if factors else 1
    parts = [(part.name, part.axes[dim]) for part in graph.parts(graph.root(name))]
    return max((_block(graph, part, place) for part, place in parts if place is not None), default=1)
