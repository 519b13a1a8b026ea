"""The figures of a latency table that people read."""

from pathlib import Path

from onnxprune.analysis.analysis import Analysis
from onnxprune.latency.model import fitted
from onnxprune.latency.table import LatencyTable
from onnxprune.values.results import LayerTime, NetworkTime, Profiled


def profiled(table: LatencyTable, analysis: Analysis, written: Path) -> Profiled:
    """Return what was timed of the network of `analysis`; `written` is the table's file."""
    costs = analysis.costs
    predicted = fitted(table, costs)
    layers = tuple(
        LayerTime(layer.name, float(layer.times[-1, -1]), float(layer.times[0, 0])) for layer in table.layers
    )
    networks = tuple(
        NetworkTime(
            costs.macs_at(network.kept),
            costs.macs_at(network.kept) / costs.whole if costs.whole else None,
            network.median,
            network.p10,
            network.p90,
            predicted(costs.widths_at(network.kept)),
        )
        for network in table.networks
    )
    return Profiled(written, table.device, dict(table.machine), table.block, table.noise, layers, networks)
