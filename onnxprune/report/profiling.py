"""What was timed of a network on a device."""

from pathlib import Path
from typing import Any

from onnxprune.analysis.analysis import Analysis
from onnxprune.latency.model import LatencyTable
from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines, Table, filled

MOST = 10
"""Layers that are shown, the slowest first."""


def profile_blocks(table: LatencyTable, analysis: Analysis, written: Path) -> tuple[Block, ...]:
    """Return the slowest layers, the whole network at several widths, and how far timings scatter."""
    clock = table.clock(analysis.costs)
    layers = sorted(table.layers, key=lambda layer: -float(layer.times[-1, -1]))
    rows = tuple(
        (layer.name, numbers.latency(float(layer.times[-1, -1])), numbers.latency(float(layer.times[0, 0])))
        for layer in layers[:MOST]
    )
    wholes = tuple(
        (
            numbers.percent(analysis.costs.macs_at(whole.kept) / analysis.costs.whole) if analysis.costs.whole else "-",
            numbers.latency(whole.median),
            f"{numbers.latency(whole.p10)} to {numbers.latency(whole.p90)}",
            numbers.latency(clock(analysis.costs.widths_at(whole.kept))),
        )
        for whole in table.wholes
    )
    rest = len(layers) - MOST
    more = (f"and {numbers.many(rest, 'layer')} more",) if rest > 0 else ()
    return filled(
        Table("Slowest layers", ("layer", "whole", "narrowest"), rows, frozenset({1, 2})),
        Lines(more),
        Table(
            "The whole network",
            ("MACs left", "median", "10th to 90th percentile", "foretold from the layers"),
            wholes,
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
    clock = table.clock(analysis.costs)
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
                "macs": analysis.costs.macs_at(whole.kept),
                "median_ms": whole.median,
                "p10_ms": whole.p10,
                "p90_ms": whole.p90,
                "foretold_ms": clock(analysis.costs.widths_at(whole.kept)),
            }
            for whole in table.wholes
        ],
    }
