"""The figures of a latency table that people read."""

from pathlib import Path

from onnxprune.analysis.analysis import Analysis
from onnxprune.latency.model import LatencyTable
from onnxprune.values.results import LayerTime, NetworkTime, Profiled


def profiled(table: LatencyTable, analysis: Analysis, written: Path) -> Profiled:
    """Return what was timed of the network of `analysis`; `written` is the table's file."""
    costs = analysis.costs
    clock = table.clock(costs)
    layers = tuple(
        LayerTime(layer.name, float(layer.times[-1, -1]), float(layer.times[0, 0])) for layer in table.layers
    )
    wholes = tuple(
        NetworkTime(
            costs.macs_at(whole.kept),
            costs.macs_at(whole.kept) / costs.whole if costs.whole else None,
            whole.median,
            whole.p10,
            whole.p90,
            clock(costs.widths_at(whole.kept)),
        )
        for whole in table.wholes
    )
    return Profiled(written, table.device, dict(table.machine), table.block, table.noise, layers, wholes)
