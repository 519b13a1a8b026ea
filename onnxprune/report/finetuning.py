"""What training came to."""

from collections.abc import Sequence

from onnxprune.report.blocks import Block, Lines, Table, filled
from onnxprune.report.quality import change_lines, class_table, drift_table, top1_rows
from onnxprune.values.amount import percent
from onnxprune.values.results import Finetuned
from onnxprune.values.training import Epoch

FEW = 3
"""Classes that are shown unless all are asked for."""


def epoch_table(history: Sequence[Epoch], best: int) -> Table:
    """Return every epoch: losses, accuracy, rate, time; the one whose weights were taken is marked."""
    rows = tuple(
        (
            f"{epoch.number}{' *' if epoch.number == best else ''}",
            "-" if epoch.loss is None else f"{epoch.loss:.4f}",
            f"{epoch.validation_loss:.4f}",
            "-" if epoch.top1 is None else percent(epoch.top1),
            f"{epoch.seconds:.1f} s" if epoch.number else "-",
        )
        for epoch in history
    )
    columns = ("epoch", "training loss", "validation loss", "validation top-1", "time")
    return Table("Epochs (* taken)", columns, rows, frozenset({1, 2, 3, 4}))


def finetuned_blocks(found: Finetuned, *, verbose: bool = False) -> tuple[Block, ...]:
    """Return what a terminal shows of a `Finetuned`; warnings come first."""
    quality = found.quality
    rows = tuple(row[:3] for row in top1_rows(quality))
    on = (
        "Measured on the data that the epoch was chosen by; --test names data that nothing was chosen by."
        if found.chosen_on_measured
        else ""
    )
    return filled(
        Lines(tuple(f"Warning: {warning}" for warning in found.warnings), tone="warning"),
        epoch_table(found.history, found.best.number) if verbose else None,
        Table(f"{found.model.name}, trained", ("", "before", "after"), rows, frozenset({1, 2})),
        Lines((f"Weights of epoch {found.best.number} of {found.recipe['epochs']}, the best on the validation data.",)),
        change_lines(quality),
        Lines((on,) if on else ()),
        class_table(quality, None if verbose else FEW, lost_only=not verbose),
        drift_table(quality),
        Lines(tuple(f"Note: {note}" for note in found.notes)),
        Lines(() if found.output is None else (f"Model written to {found.output}",)),
    )
