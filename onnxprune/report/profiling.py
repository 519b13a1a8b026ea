"""What was timed of a network on a device."""

from pathlib import Path
from typing import Any

from onnxprune.analysis.analyse import Analysis
from onnxprune.latency.model import fitted
from onnxprune.latency.table import LatencyTable
from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines, Table, filled

MOST = 10
"""Layers that are shown, the slowest first."""


def profile_blocks(table: LatencyTable, analysis: Analysis, written: Path) -> tuple[Block, ...]:
    """Return the slowest layers, the whole network at several widths, and how far timings scatter."""
    predicted = fitted(table, analysis.costs)
    layers = sorted(table.layers, key=lambda layer: -float(layer.times[-1, -1]))
    rows = tuple(
        (layer.name, numbers.latency(float(layer.times[-1, -1])), numbers.latency(float(layer.times[0, 0])))
        for layer in layers[:MOST]
    )
    networks = tuple(
        (
            numbers.percent(analysis.costs.macs_at(network.kept) / analysis.costs.whole)
            if analysis.costs.whole
            else "-",
            numbers.latency(network.median),
            f"{numbers.latency(network.p10)} to {numbers.latency(network.p90)}",
            numbers.latency(predicted(analysis.costs.widths_at(network.kept))),
        )
        for network in table.networks
    )
    rest = len(layers) - MOST
    more = (f"and {numbers.many(rest, 'layer')} more",) if rest > 0 else ()
    return filled(
        Table("Slowest layers", ("layer", "whole", "narrowest"), rows, frozenset({1, 2})),
        Lines(more),
        Table(
            "The whole network",
            ("MACs left", "median", "10th to 90th percentile", "predicted from the layers"),
            networks,
            frozenset({0, 1, 2, 3}),
        ),
        Lines(
            (
                f"Timed on {table.device}.",
                f"Kernels are filled in blocks of {numbers.many(table.block, 'channel')}.",
                f"Timings scatter by {numbers.percent(table.noise)} (10th to 90th percentile, in the median)"
                + ("; that is much: leave the machine alone and do it again." if table.noise > NOISY else "."),
                f"Latency table written to {written}",
            )
        ),
    )


NOISY = 0.3
"""Scatter that is worth a warning."""


def profile_json(table: LatencyTable, analysis: Analysis, written: Path) -> dict[str, Any]:
    """Return the same as JSON types."""
    predicted = fitted(table, analysis.costs)
    return {
        "table": str(written),
        "machine": dict(table.machine),
        "block": table.block,
        "noise": table.noise,
        "layers": [
            {"name": layer.name, "whole_ms": float(layer.times[-1, -1]), "narrowest_ms": float(layer.times[0, 0])}
            for layer in table.layers
        ],
        "wholes": [
            {
                "macs": analysis.costs.macs_at(network.kept),
                "median_ms": network.median,
                "p10_ms": network.p10,
                "p90_ms": network.p90,
                "predicted_ms": predicted(analysis.costs.widths_at(network.kept)),
            }
            for network in table.networks
        ],
    }
