"""The samples that a recovery works with: no more than its memory allows."""

import math
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from onnxprune.data import Dataset, take
from onnxprune.graph.model import Graph
from onnxprune.recovery.recovery import Calls
from onnxprune.runtime.session import Session

SAMPLES = 512
"""Samples at most; more gave nothing, see docs/recovery.md."""

PER_CALL = 16
"""Samples of one call where the model takes any number."""

MEMORY = 1 << 30
"""Bytes that the tensors held between two layers may take, over all samples and both networks."""


def choose_calls(graph: Graph, session: Session, dataset: Dataset, seed: int, most: int = SAMPLES) -> tuple[Calls, int]:
    """Return the feeds of the calls to recover with, and how many samples these are: whole calls, at least one."""
    if dataset.reader.one_by_one:
        some = take(dataset, max(1, min(most, _affordable(graph, 1))), seed)
        return [batch.feeds for batch in some.batches(1)], len(some)
    size = session.chunk_size or PER_CALL
    count = min(most, len(dataset), _affordable(graph, size))
    count = max(size if session.chunk_size else 1, count - count % size if session.chunk_size else count)
    some = take(dataset, count, seed)
    calls: list[Mapping[str, NDArray[Any]]] = []
    for batch in some.batches(size):
        calls += [chunk.feeds for chunk in session.chunks(batch.feeds)]
    return calls, len(some)


def _affordable(graph: Graph, size: int) -> int:
    """Return how many samples keep the tensors that are held within `MEMORY`, in whole calls of `size`."""
    shapes = graph.facts.shapes[0]
    batch = next((shapes[name][0] for name in graph.inputs if shapes.get(name)), 1)
    widest = max(1.0, _widest(graph) / max(1, batch))
    return max(1, int(MEMORY / (2 * widest * size))) * size


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
