"""Progress of a run in a notebook, shown by IPython where there is one, and as text elsewhere."""

import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from onnxprune.pipeline.events import BatchTrained, EpochTrained, Event, TrainingBegun, TrainingEnded, Working
from onnxprune.pipeline.words import event_blocks
from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines, filled, plain
from onnxprune.report.finetuning import epoch_table
from onnxprune.values.progress import Item, Throttle
from onnxprune.values.training import Epoch

FEW = 3
"""Skipped files that are named."""

Bundle = Mapping[str, str]
"""What is shown, by media type."""

Show = Callable[[Bundle], Callable[[Bundle], None]]
"""Shows a bundle and returns what replaces it by another."""


class NotebookListener:
    """Shows messages, progress bars and the epochs of a training in the output of a cell."""

    def __init__(self, show: Show | None = None) -> None:
        """Show by `show`; None: by IPython's display if it is installed, else as text, what is finished alone."""
        self._show = show or _ipython() or _text
        self._replaces = self._show is not _text
        self._update: Callable[[Bundle], None] | None = None
        self._history: list[Epoch] = []
        self._best = 0
        self._epochs = 0
        self._throttle = Throttle()

    def hear(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Working():
                self._show(_bundle(f"{event.what} ..."))
            case TrainingBegun():
                self._epochs, self._history, self._best, self._update = event.epochs, [], 0, None
            case BatchTrained():
                if self._replaces and self._throttle.is_due(event.done, event.steps):
                    self._training(f"Epoch {event.epoch} of {self._epochs}: loss {event.loss:.4f}")
            case EpochTrained():
                self._history.append(event.epoch)
                self._best = event.epoch.number if event.best else self._best
                self._training("")
            case TrainingEnded():
                self._update = None
            case _:
                for block in filled(*event_blocks(event, FEW)):
                    self._show(_bundle(*_lines(block)))

    def track(self, items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        """Yield the items and show a bar."""
        done = 0
        update = self._show(_bar(what, 0, total)) if self._replaces else None
        for item in items:
            yield item
            done += len(item)
            if update is not None and self._throttle.is_due(done, total):
                update(_bar(what, done, total))
        if update is None:
            self._show(_bar(what, done, total))

    def _training(self, line: str) -> None:
        """Show the epochs so far, over what was shown of this training before."""
        shown = self._history if self._replaces else self._history[-1:]
        table = _lines(epoch_table(shown, self._best)) if shown else ()
        bundle = _bundle(*table, *([line] if line else []))
        if self._update is None or not self._replaces:
            self._update = self._show(bundle)
        else:
            self._update(bundle)


def _lines(block: Block) -> tuple[str, ...]:
    """Return a block as lines of text; cells of a table are padded to the width of their column."""
    title = (block.title,) if block.title else ()
    if isinstance(block, Lines):
        return (*title, *block.lines)
    rows = (block.columns, *block.rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(block.columns))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return (*title, *padded)


def _bundle(*lines: str) -> Bundle:
    text = "\n".join(_clean(line) for line in lines)
    return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}


def _clean(line: str) -> str:
    """Return a line without control characters; spaces stay, as they line up columns."""
    return "".join(char if char == " " else plain(char) for char in line)


def _bar(what: str, done: int, total: int) -> Bundle:
    text = f"{what}: {done} of {numbers.many(total, 'step')}"
    bar = f'<progress value="{done}" max="{total}"></progress>'
    return {"text/plain": _clean(text), "text/html": f"{bar} {html.escape(_clean(text))}"}


def _text(bundle: Bundle) -> Callable[[Bundle], None]:
    """Print a bundle, which nothing can replace."""
    print(bundle["text/plain"])
    return lambda _: None


def _ipython() -> Show | None:
    """Return what shows a bundle in a cell; None without IPython, or where no shell of it runs."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    if get_ipython() is None:
        return None

    def show(bundle: Bundle) -> Callable[[Bundle], None]:
        handle: Any = display(dict(bundle), raw=True, display_id=True)
        return lambda other: handle.update(dict(other), raw=True)

    return show
