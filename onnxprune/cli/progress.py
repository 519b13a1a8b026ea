"""Progress on stderr: what is being done, how fast and how long still. Work of half a second shows nothing."""

import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from onnxprune.cli.time_left import TimeLeft, in_words
from onnxprune.values.progress import Item

PATIENCE = 0.6
"""Seconds that pass before anything is shown."""


class Meter:
    """A `Track` that draws a bar in a terminal and writes one line a stage elsewhere.

    `left` knows the parts of the run. `working` announces work whose steps cannot be counted. Use it as a context
    manager, so that no bar survives.
    """

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._console = console
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._bar: Progress | None = None
        self._task: tuple[str, int | None, float] = ("", None, 0.0)
        self._done = 0
        self._work = ""
        self.left = TimeLeft()

    def __call__(self, items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        """Yield the items and show how far they are."""
        self._begin(what, total)
        try:
            for item in items:
                yield item
                self._advance(len(item))
        finally:
            self._end()
            if self._work and self._console.is_terminal:  # it goes on, and says so if nothing else does
                self._begin(self._work, None)

    def working(self, what: str) -> None:
        """Show that something is begun, until the next thing is."""
        self._work = what
        self._begin(what, None)

    def stop(self) -> None:
        """Show nothing more of what was begun."""
        self._work = ""
        self._end()

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._work = ""
        self._end(aborted=kind is not None)

    def _begin(self, what: str, total: int | None) -> None:
        self._end()
        self._task, self._done = (what, total, time.perf_counter()), 0
        if self._console.is_terminal:
            self._timer = threading.Timer(PATIENCE, self._show)
            self._timer.daemon = True
            self._timer.start()

    def _show(self) -> None:
        with self._lock:
            if self._timer is None:
                return  # the work ended meanwhile
            what, total, start = self._task
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=15),
                RateColumn(start),
                TimeElapsedColumn() if total is None else TimeRemainingColumn(),
                WholeColumn(self.left, start),
                console=self._console,
                transient=True,
            )
            self._bar.add_task(what, total=total, completed=self._done)
            self._bar.start()

    def _advance(self, steps: int) -> None:
        with self._lock:
            self._done += steps
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self._done)

    def _end(self, *, aborted: bool = False) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
        what, total, start = self._task
        took = time.perf_counter() - start
        if what and took > PATIENCE and not (aborted or self._console.is_terminal):
            counted = f"{self._done} of {total} in {took:.1f} s ({_rate(self._done / took)} a second)" if total else ""
            self._console.print(Text(f"{what}: {counted or f'{took:.1f} s'}"))
        self._task = ("", None, 0.0)


class RateColumn(ProgressColumn):
    """Samples per second since the work began, which rich does not know when its bar comes late."""

    def __init__(self, start: float) -> None:
        """Count from `start`, a time of `time.perf_counter`."""
        super().__init__()
        self._start = start

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing where it is not known."""
        if task.total is None or not task.completed:
            return Text("")
        rate = task.completed / max(time.perf_counter() - self._start, 1e-9)
        return Text(f"{task.completed:.0f}/{task.total:.0f}  {rate:.3g}/s")


class WholeColumn(ProgressColumn):
    """What is left of the whole run."""

    def __init__(self, left: TimeLeft, start: float) -> None:
        """Ask `left`, of a run whose present work began at `start`, a time of `time.perf_counter`."""
        super().__init__()
        self._left, self._start = left, start

    def render(self, task: Task) -> Text:
        """Return the time that is left, in words."""
        counted = None
        if task.total and task.completed:
            counted = (time.perf_counter() - self._start) * (task.total - task.completed) / task.completed
        return Text(in_words(self._left.seconds(counted)))


def _rate(each_second: float) -> str:
    return f"{each_second:.0f}" if each_second >= 10 else f"{each_second:.2g}"
