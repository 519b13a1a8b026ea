"""What is shown while a model is trained: a table that grows by a row an epoch, and logs for TensorBoard."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from onnxprune.errors import InputError
from onnxprune.report.terminal import open_console

if TYPE_CHECKING:
    from onnxprune.finetune.training.checkpoint import Epoch

COLUMNS = ("epoch", "loss", "validation loss", "top-1", "rate", "seconds")


class Training:
    """Shows the progress of training: a live table in a terminal, one line an epoch elsewhere."""

    def __init__(self, console: Console, epochs: int, *, quiet: bool, log: Any = None) -> None:
        """Show `epochs` epochs on `console`; `log` is a SummaryWriter of TensorBoard, or None."""
        self._console, self._epochs, self._quiet, self._log = console, epochs, quiet, log
        self._rows: list[tuple[str, ...]] = []
        self._begun = time.perf_counter()
        self._first: int | None = None  # epoch that was not resumed
        self._live: Live | None = None

    def step(self, epoch: int, done: int, steps: int, loss: float, rate: float) -> None:
        """Show how far the epoch is and what time is left."""
        if self._log is not None:
            self._log.add_scalar("loss/step", loss, (epoch - 1) * steps + done)
        if self._quiet or not self._console.is_terminal:
            return
        self._first = epoch if self._first is None else self._first
        share = (epoch - self._first + done / steps) / (self._epochs - self._first + 1)
        left = (time.perf_counter() - self._begun) * (1 - share) / share
        self._show(f"epoch {epoch} of {self._epochs}: step {done} of {steps}, loss {loss:.4f}, {_clock(left)} left")

    def epoch(self, epoch: "Epoch", best: bool) -> None:
        """Add a row."""
        if self._log is not None:
            self._write(epoch)
        row = (
            f"{epoch.number}{' *' if best else ''}",
            "-" if epoch.loss is None else f"{epoch.loss:.4f}",
            f"{epoch.validation_loss:.4f}",
            "-" if epoch.top1 is None else f"{100 * epoch.top1:.2f} %",
            f"{epoch.rate:.2g}" if epoch.number else "-",
            f"{epoch.seconds:.1f}" if epoch.number else "-",
        )
        self._rows.append(row)
        if self._first is None:
            self._begun = time.perf_counter()
        if self._quiet:
            return
        if self._console.is_terminal:
            self._show("")
        else:
            named = ", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, row, strict=True) if cell != "-")
            self._console.print(Text(named))

    def done(self) -> None:
        """Leave the table as it is; the next training begins another."""
        if self._live is not None:
            self._show("")
            self._live.stop()
        self._live, self._rows, self._first = None, [], None

    def close(self) -> None:
        """End everything."""
        if self._live is not None:
            self._live.stop()
        if self._log is not None:
            self._log.close()

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

    def _write(self, epoch: "Epoch") -> None:
        values = {"loss/training": epoch.loss, "loss/validation": epoch.validation_loss, "top1/validation": epoch.top1}
        for name, value in values.items():
            if value is not None:
                self._log.add_scalar(name, value, epoch.number)
        self._log.add_scalar("rate", epoch.rate, epoch.number)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def is_first() -> bool:
    """Whether this is the only process, or the first of those that torch's launcher started: the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def open_watch(flags: Mapping[str, Any], epochs: int) -> Iterator[Training]:
    """Open what shows the progress of training; only the first of several processes logs.

    Raises:
        InputError: logs for TensorBoard are asked for and it is not installed.
    """
    folder = flags.get("tensorboard")
    log = _writer(folder) if folder is not None and is_first() else None
    watch = Training(open_console(sys.stderr), epochs, quiet=flags["quiet"], log=log)
    try:
        yield watch
    finally:
        watch.close()


def _writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            f"--tensorboard needs the package tensorboard ({error}); pip install tensorboard, or leave it out."
        ) from error
    try:
        return SummaryWriter(folder)
    except OSError as error:
        raise InputError(f"Cannot write logs to {folder} ({error.strerror}); name another folder.") from None
