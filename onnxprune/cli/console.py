"""What a command says on stderr while it runs: messages, progress bars and the table of a training."""

from collections.abc import Iterable, Iterator
from types import TracebackType

from rich.console import Console

from onnxprune.cli.progress import Meter
from onnxprune.cli.training import TrainingTable
from onnxprune.pipeline.events import (
    BatchTrained,
    EpochTrained,
    Event,
    Outlined,
    PartBegun,
    TrainingBegun,
    TrainingEnded,
    Working,
)
from onnxprune.pipeline.words import event_blocks
from onnxprune.report.blocks import filled
from onnxprune.report.terminal import show
from onnxprune.values.progress import Item

FEW = 3
"""Skipped files that are named without -v."""


class ConsoleListener:
    """Shows a run on a console. Use it as a context manager, so that no bar survives."""

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        """Speak on `console`; `verbose` names all skipped files."""
        self._console = console
        self._limit = None if verbose else FEW
        self._meter = Meter(console)
        self._table = TrainingTable(console)

    def hear(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Working():
                self._meter.working(event.what)
            case Outlined():
                self._meter.left.outlined(event.seconds)
            case PartBegun():
                self._meter.left.begin(event.part)
            case TrainingBegun():
                self._meter.stop()
                self._table.begin(event.epochs)
            case BatchTrained():
                self._table.step(event)
            case EpochTrained():
                self._table.epoch(event.epoch, best=event.best)
            case TrainingEnded():
                self._table.end()
            case _:
                for block in filled(*event_blocks(event, self._limit)):
                    show((block,), self._console)

    def track(self, items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        """Yield the items and show how far they are."""
        return self._meter(items, total=total, what=what)

    def __enter__(self) -> "ConsoleListener":
        self._meter.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.close()
        self._meter.__exit__(kind, error, trace)
        if kind is None and self._console.is_terminal:
            self._console.print()  # the result follows
