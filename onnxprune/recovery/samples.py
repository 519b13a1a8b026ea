"""The calls of a recovery: which samples each is fed with, read when they are asked for."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import Dataset
from onnxprune.graph.model import Graph
from onnxprune.linear.held import Calls

PER_CALL = 16
"""Samples of one call at most where the model takes any number."""

WORKING = 4
"""The tensors of one call, in both networks, may take this part of the memory."""


class SampleCalls:
    """Feeds of the samples of some data sets, one set after the other; no call has samples of two."""

    def __init__(self, parts: Sequence[Dataset], size: int, *, fixed: bool) -> None:
        """Cut data sets into calls of `size` samples; where it is `fixed`, the last sample fills a call up."""
        self.counts = tuple(math.ceil(len(part) / size) for part in parts)
        self._size, self._fixed = size, fixed
        self._spans = [
            (part, start)
            for part, count in zip(parts, self.counts, strict=True)
            for start in range(0, count * size, size)
        ]

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, number: int) -> Mapping[str, NDArray[Any]]:
        part, start = self._spans[number]
        rows = np.arange(start, start + self._size if self._fixed else min(start + self._size, len(part)))
        return next(part.subset(np.minimum(rows, len(part) - 1)).batches(self._size)).feeds

    def __iter__(self) -> Iterator[Mapping[str, NDArray[Any]]]:
        return (self[number] for number in range(len(self)))


def sample_calls(graph: Graph, chunk_size: int | None, parts: Sequence[Dataset], memory: int) -> SampleCalls:
    """Return the calls over data sets, as large as the model (`chunk_size`; None: any) and the memory allow."""
    if parts[0].reader.one_by_one:
        return SampleCalls(parts, 1, fixed=False)
    return SampleCalls(parts, chunk_size or _affordable(graph, memory), fixed=chunk_size is not None)


def _affordable(graph: Graph, memory: int) -> int:
    widest = max(1.0, _widest(graph) / _batch(graph))
    return max(1, min(PER_CALL, int(memory / (2 * WORKING * widest))))


def _batch(graph: Graph) -> int:
    """Return how many samples the trial with the first sizes has."""
    shapes = graph.facts.shapes[0]
    return max(1, next((shapes[name][0] for name in graph.inputs if shapes.get(name)), 1))


def tensor_bytes(graph: Graph, calls: Calls) -> dict[str, float]:
    """Return how many bytes each tensor takes in one call, as far as its shape is known."""
    samples = max((len(value) for value in calls[0].values() if np.ndim(value)), default=1)
    shapes = graph.facts.shapes[0]
    made = (name for node in graph.nodes for name in node.outputs if shapes.get(name) and not graph.is_leaf(name))
    return {name: 4.0 * math.prod(shapes[name]) * samples / _batch(graph) for name in made}


def _widest(graph: Graph) -> float:
    """Return the most bytes that are alive between two nodes, in the trial with the first sizes."""
    last = dict.fromkeys(graph.outputs, graph.nodes[-1].index)
    for name, readers in graph.readers.items():
        last[name] = max(last.get(name, 0), max(node.index for node in readers))
    going: dict[int, int] = {}
    alive = widest = 0
    for node in graph.nodes:
        for name in node.outputs:
            shape = graph.facts.shapes[0].get(name)
            if shape is not None and not graph.is_leaf(name):
                bytes_held = 4 * math.prod(shape)
                alive += bytes_held
                end = last.get(name, node.index)
                going[end] = going.get(end, 0) + bytes_held
        widest = max(widest, alive)
        alive -= going.pop(node.index, 0)
    return float(widest)
