"""What pruning and training in turns came to."""

from onnxprune.report.blocks import Block, Lines, Table, filled
from onnxprune.report.quality import change_lines, class_table, top1_rows
from onnxprune.values.amount import percent
from onnxprune.values.results import Iterated

FEW = 3
"""Classes that are shown unless all are asked for."""


def iterated_blocks(found: Iterated, *, verbose: bool = False) -> tuple[Block, ...]:
    """Return what a terminal shows of an `Iterated`."""
    quality = found.quality
    rows = tuple(
        (
            f"{one.number}{'' if one.kept else ' (undone)'}",
            percent(one.macs),
            percent(one.params),
            str(one.channels),
            *("-" if top1 is None else percent(top1) for top1 in (one.cut, one.recovered, one.trained)),
        )
        for one in found.iterations
    )
    columns = ("iteration", "MACs left", "params left", "channels gone", "after the cut", "recovered", "trained")
    compared = tuple(row[:3] for row in top1_rows(quality))
    kept = () if found.folder is None else (f"Every iteration with its plan is in {found.folder}",)
    on = "Measured on the validation data, which the floor was held against; --test names other data."
    return filled(
        Table(f"{found.model.name}, pruned by {found.method}: top-1 on the validation data", columns, rows, _NUMERIC),
        Lines((found.ended,)),
        Table("Before and after", ("", "before", "after"), compared, frozenset({1, 2})),
        change_lines(quality),
        Lines((on,) if found.on_validation else ()),
        class_table(quality, None if verbose else FEW, lost_only=not verbose),
        Lines(tuple(f"Note: {note}" for note in found.notes)),
        Lines((f"Model written to {found.output}", *kept)),
    )


_NUMERIC = frozenset(range(1, 7))
