"""Who listens to a command: a console, a program that reads JSON lines, or nobody; and logs for TensorBoard."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from onnxprune.cli.console import ConsoleListener
from onnxprune.cli.json_lines import JsonListener
from onnxprune.cli.options import Talk
from onnxprune.cli.tensorboard import is_first, open_log
from onnxprune.pipeline.events import NULL_LISTENER, Event, Listener
from onnxprune.report.terminal import open_console
from onnxprune.values.progress import Item


class Listeners:
    """Passes everything on to several listeners."""

    def __init__(self, *listeners: Listener) -> None:
        """Pass on to `listeners`, in this order."""
        self._listeners = listeners

    def hear(self, event: Event) -> None:
        """Pass on an event."""
        for listener in self._listeners:
            listener.hear(event)

    def track(self, items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        """Yield the items past all listeners."""
        tracked = iter(items)
        for listener in self._listeners:
            tracked = listener.track(tracked, total=total, what=what)
        return tracked


@contextmanager
def open_listener(talk: Talk, logs: Path | None = None) -> Iterator[Listener]:
    """Open the listener that `--progress`, `--quiet` and `--verbose` ask for, and logs for TensorBoard in a folder.

    Of several processes that torch's launcher started only the first speaks and logs.

    Raises:
        InputError: logs for TensorBoard are asked for and it is not installed, or they cannot be written.
    """
    with ExitStack() as opened:
        shown = _shown(talk)
        if isinstance(shown, ConsoleListener):
            opened.enter_context(shown)
        if logs is None or not is_first():
            yield shown
        else:
            yield Listeners(shown, opened.enter_context(open_log(logs)))


def _shown(talk: Talk) -> Listener:
    if talk.quiet or talk.progress == "none" or not is_first():
        return NULL_LISTENER
    if talk.progress == "json":
        return JsonListener(sys.stderr)
    return ConsoleListener(open_console(sys.stderr), verbose=talk.verbose)
