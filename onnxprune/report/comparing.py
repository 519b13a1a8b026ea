"""What comparing two models came to."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block, Lines, Table, filled
from onnxprune.report.figures import figures_table
from onnxprune.report.quality import change_lines, class_table, drift_table
from onnxprune.values.amount import percent
from onnxprune.values.compared import Compared

FEW = 3
"""Classes that are shown unless all are asked for."""


def compared_title(found: Compared) -> str:
    """Return what was compared with what."""
    return f"{found.other.name} beside {found.model.name}"


def compared_blocks(found: Compared, *, whole: bool = False, page: bool = False) -> tuple[Block, ...]:
    """Return size, speed, accuracy, drift and ops of both models; with `whole` every class, on a `page` no title."""
    title, timed = "" if page else compared_title(found), (found.speedup, found.single_speedup)
    names, quality = ("first", "second"), found.quality
    return filled(
        figures_table(title, names, found.before, found.after, timed, found.threads, quality),
        change_lines(quality),
        Lines(tuple(_answers(found))),
        class_table(quality, None if whole else FEW, lost_only=not whole),
        drift_table(quality) if quality.drift is not None else _drift(found),
        Lines(tuple(f"{name!r} is not compared: {why}." for name, why in found.skipped.items())),
        _ops(found),
        Lines(tuple(f"Note: {note}" for note in found.notes)),
    )


def _answers(found: Compared) -> Iterator[str]:
    if found.agreement is not None:
        yield f"Both give the same class to {percent(found.agreement)} of the samples."
    lost = found.quality.bounds.get("max_drop")
    if lost is not None:
        yield f"At most {100 * lost:.1f} points of top-1 are lost, at {100 * found.confidence:g} % confidence."


def _drift(found: Compared) -> Table:
    rows = tuple((name, percent(change)) for name, change in found.drift.items())
    return Table("Drift of the outputs", ("output", "relative L2 change"), rows, frozenset({1}))


def _ops(found: Compared) -> Block:
    if not found.ops:
        return Lines(("Both have the same nodes by kind.",))
    rows = tuple((count.op, str(count.before), str(count.after)) for count in found.ops)
    return Table("Nodes that differ", ("op", "first", "second"), rows, frozenset({1, 2}))
