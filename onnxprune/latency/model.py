"""The latency model: what a table says of a network's latency at widths that were not timed.

A layer was timed alone at a few widths of the axes of its weight; in between it is interpolated, and where a wider
layer is faster, the narrower one counts as that. A whole network takes more than its layers: the rest follows, by least
squares with no negative weights, from whole networks that were timed at several widths: a factor for the layers, a
constant, so much for every number that its nodes write, so much for every multiply-add of what was not timed alone.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import nnls

from onnxprune.analysis.analysis import Analysis
from onnxprune.latency.table import LatencyTable
from onnxprune.values.axes import FloatArray
from onnxprune.values.costs import CostTable, Products


@dataclass(frozen=True, eq=False)
class PredictedLatency:
    """From the widths of all axes to milliseconds.

    Attributes:
        table: what was timed.
        made: the numbers that all nodes write.
        untimed: the multiply-adds of what was not timed alone.
        weights: of the parts of a latency, see `parts`, [4].
    """

    table: LatencyTable
    made: Products
    untimed: Products
    weights: FloatArray

    def parts(self, widths: FloatArray) -> FloatArray:
        """Return the time of the layers, 1, the numbers that are written, and the multiply-adds not timed, [4]."""
        layers = sum(self._layer(number, widths) for number in range(len(self.table.layers)))
        return np.asarray([layers, 1.0, self.made.total(widths), self.untimed.total(widths)])

    def __call__(self, widths: FloatArray) -> float:
        """Return the milliseconds of one sample."""
        return float(self.weights @ self.parts(widths))

    def _layer(self, number: int, widths: FloatArray) -> float:
        layer = self.table.layers[number]
        key = (number, *(None if axis is None else float(widths[axis]) for axis in layer.axes))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = layer.at(widths, self.table.block)
        return found

    @cached_property
    def _known(self) -> dict[tuple[Any, ...], float]:
        return {}


def fitted(table: LatencyTable, costs: CostTable) -> PredictedLatency:
    """Return what predicts the latency of the network whose costs these are."""
    timed = {layer.node for layer in table.layers}
    untimed = tuple(term for term in costs.macs if term.node not in timed)
    axes = len(costs.widths)
    found = PredictedLatency(table, Products(costs.made, axes), Products(untimed, axes), np.zeros(4))
    rows = np.asarray([found.parts(costs.widths_at(network.kept)) for network in table.networks])
    medians = np.asarray([network.median for network in table.networks])
    # Relative errors count, and the scale of the columns does not.
    scale = np.maximum(rows.max(axis=0), 1e-12)
    weights, _ = nnls(rows / scale / medians[:, None], np.ones(len(medians)))
    return replace(found, weights=weights / scale)


def with_latency_model(analysis: Analysis, table: LatencyTable) -> Analysis:
    """Return the analysis with costs that predict the latency by a table."""
    return replace(analysis, costs=replace(analysis.costs, latency_model=fitted(table, analysis.costs)))
