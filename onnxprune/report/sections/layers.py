"""What every layer costs before and after."""

from collections.abc import Iterator

from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines, Table
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.amount import percent
from onnxprune.values.results import Result

MOST = 20
"""Layers that are shown of a plan that is not carried out, unless all are asked for."""


def blocks(result: Result, detail: Detail) -> Iterator[Block | None]:
    """Return the layers; of a plan that is not carried out, those of which most goes, else where all is shown."""
    if not detail.whole and result.after is not None:
        return
    shown = result.layers
    if not detail.whole:
        most = sorted(result.layers, key=lambda layer: layer.after - layer.before)[:MOST]
        shown = tuple(layer for layer in result.layers if layer in most)
    rows = tuple(
        (
            layer.name,
            layer.op,
            numbers.count(layer.before),
            numbers.count(layer.after),
            percent(layer.left) if layer.before else "-",
        )
        for layer in shown
    )
    bars = tuple(layer.left for layer in shown)
    yield Table("Multiply-adds by layer", ("layer", "op", "before", "after", "left"), rows, frozenset({2, 3, 4}), bars)
    left = len(result.layers) - len(shown)
    yield Lines((f"and {numbers.many(left, 'layer')} more, which -v shows",)) if left else None


register(Section("layers", 75, blocks))
