"""What was timed of a network on a device."""

from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines, Table, filled
from onnxprune.values.amount import percent
from onnxprune.values.results import Profiled

MOST = 10
"""Layers that are shown, the slowest first."""

NOISY = 0.3
"""Scatter that is worth a warning."""


def profile_blocks(found: Profiled) -> tuple[Block, ...]:
    """Return the slowest layers, the whole network at several widths, and how far timings scatter."""
    layers = sorted(found.layers, key=lambda layer: -layer.whole)
    rows = tuple((one.name, numbers.latency(one.whole), numbers.latency(one.narrowest)) for one in layers[:MOST])
    wholes = tuple(
        (
            "-" if one.share is None else percent(one.share),
            numbers.latency(one.median),
            f"{numbers.latency(one.p10)} to {numbers.latency(one.p90)}",
            numbers.latency(one.predicted),
        )
        for one in found.wholes
    )
    rest = len(layers) - MOST
    more = (f"and {numbers.many(rest, 'layer')} more",) if rest > 0 else ()
    return filled(
        Table("Slowest layers", ("layer", "whole", "narrowest"), rows, frozenset({1, 2})),
        Lines(more),
        Table(
            "The whole network",
            ("MACs left", "median", "10th to 90th percentile", "predicted from the layers"),
            wholes,
            frozenset({0, 1, 2, 3}),
        ),
        Lines(
            (
                f"Timed on {found.device}.",
                f"Kernels are filled in blocks of {numbers.many(found.block, 'channel')}.",
                f"Timings scatter by {percent(found.noise)} (10th to 90th percentile, in the median)"
                + ("; that is much: leave the machine alone and do it again." if found.noise > NOISY else "."),
                f"Latency table written to {found.table}",
            )
        ),
    )
