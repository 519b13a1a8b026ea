"""The table of a training: it grows by a row an epoch."""

import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from onnxprune.pipeline.events import BatchTrained
from onnxprune.values.training import Epoch

COLUMNS = ("epoch", "loss", "validation loss", "top-1", "rate", "seconds")


class TrainingTable:
    """Shows the progress of trainings: a live table in a terminal, one line an epoch elsewhere."""

    def __init__(self, console: Console) -> None:
        """Show on `console`."""
        self._console, self._epochs = console, 0
        self._rows: list[Sequence[str]] = []
        self._begun = time.perf_counter()
        self._first: int | None = None  # epoch that was not resumed
        self._live: Live | None = None

    def begin(self, epochs: int) -> None:
        """Begin the table of a training of `epochs` epochs."""
        self._epochs, self._rows, self._first = epochs, [], None
        self._begun = time.perf_counter()

    def step(self, found: BatchTrained) -> None:
        """Show how far the epoch is and what time is left."""
        if not self._console.is_terminal:
            return
        epoch = found.epoch
        self._first = epoch if self._first is None else self._first
        share = (epoch - self._first + found.done / found.steps) / (self._epochs - self._first + 1)
        left = (time.perf_counter() - self._begun) * (1 - share) / share
        progress = f"epoch {epoch} of {self._epochs}: step {found.done} of {found.steps}"
        self._show(f"{progress}, loss {found.loss:.4f}, {_clock(left)} left")

    def epoch(self, epoch: Epoch, *, best: bool) -> None:
        """Add a row."""
        row = epoch_row(epoch, best=best)
        self._rows.append(row)
        if self._first is None:
            self._begun = time.perf_counter()
        if self._console.is_terminal:
            self._show("")
        else:
            named = ", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, row, strict=True) if cell != "-")
            self._console.print(Text(named))

    def end(self) -> None:
        """Leave the table as it is."""
        if self._live is not None:
            self._show("")
        self.close()

    def close(self) -> None:
        """Stop drawing."""
        if self._live is not None:
            self._live.stop()
        self._live = None

    def _show(self, line: str) -> None:
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()
        table = Table(*COLUMNS, caption="* the best so far, by the validation data", caption_justify="left")
        for column in table.columns:
            column.justify = "right"
        for row in self._rows:
            table.add_row(*row)
        self._live.update(Group(table, Text(line)))


def epoch_row(epoch: Epoch, *, best: bool) -> tuple[str, ...]:
    """Return the cells of an epoch under `COLUMNS`; a dash is what there is not."""
    return (
        f"{epoch.number}{' *' if best else ''}",
        "-" if epoch.loss is None else f"{epoch.loss:.4f}",
        f"{epoch.validation_loss:.4f}",
        "-" if epoch.top1 is None else f"{100 * epoch.top1:.2f} %",
        f"{epoch.rate:.2g}" if epoch.number else "-",
        f"{epoch.seconds:.1f}" if epoch.number else "-",
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
