"""Put the channels of each group of a convolution into another order; the network computes what it did."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.blocks import Blocks, sources
from onnxprune.errors import InputError
from onnxprune.graph.model import Graph
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.surgery.edits import Edits
from onnxprune.surgery.rewrite import edited
from onnxprune.values.axes import IntArray, Ref

Array = NDArray[Any]


def reorder(analysis: Analysis, blocks: Blocks, orders: Mapping[str, IntArray]) -> StoredModel:
    """Return the model whose channels stand in another order within the groups of its convolutions.

    Args:
        analysis: of the model, which stays as it is.
        blocks: of the analysis, see `find_blocks`.
        orders: channel group -> [blocks, channels], the channel of the block that comes to each place.

    Raises:
        InputError: an order is none of this model's channels.
    """
    _check(blocks, orders)
    graph = analysis.graph
    moved = dict(sources(blocks, orders))
    values: dict[Ref, Array] = {}
    for axis, source in moved.items():
        if axis.ref.is_use:
            values[axis.ref] = np.take(_value(values, graph, axis.ref), source, axis=axis.dim)
    for column, tie in blocks.columns.items():
        if tie.a in moved:
            values[column.ref] = _by_group(_value(values, graph, column.ref), moved[tie.a])
    known = graph.facts.known
    tensors = {ref.name: value for ref, value in values.items() if not np.array_equal(value, known[ref.name].first)}
    edits = Edits(tensors, operands={}, added={}, attributes={}, copies={}, widths={})
    return edited(graph, edits)


def _check(blocks: Blocks, orders: Mapping[str, IntArray]) -> None:
    for name, order in orders.items():
        known = blocks.of.get(name)
        if known is None or order.shape != known.shape or (np.sort(order, axis=1) != np.arange(known.shape[1])).any():
            raise InputError(
                f"The channels of group {name!r} cannot be put into the order that is asked for; make the plan or the "
                "scores again.",
                "wrong-model",
            )


def _value(values: Mapping[Ref, Array], graph: Graph, ref: Ref) -> Array:
    return values.get(ref, graph.facts.known[ref.name].first)


def _by_group(value: Array, source: IntArray) -> Array:
    """Reorder the columns of a weight [rows of all groups, columns of a group, ...], each group's by themselves."""
    width = value.shape[1]
    parts, orders = np.split(value, len(source) // width), source.reshape(-1, width) % width
    return np.concatenate([part[:, order] for part, order in zip(parts, orders, strict=True)])
