"""Who listens to a command: a console, a program that reads JSON lines, or nobody; and logs for TensorBoard."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from onnxprune.cli.console import ConsoleListener
from onnxprune.cli.json_lines import JsonListener
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
def open_listener(flags: Mapping[str, Any]) -> Iterator[Listener]:
    """Open the listener that `--progress`, `--quiet`, `--verbose` and `--tensorboard` ask for.

    Of several processes that torch's launcher started only the first speaks and logs.

    Raises:
        InputError: logs for TensorBoard are asked for and it is not installed, or they cannot be written.
    """
    with ExitStack() as opened:
        shown = _shown(flags)
        if isinstance(shown, ConsoleListener):
            opened.enter_context(shown)
        folder = flags.get("tensorboard")
        if folder is None or not is_first():
            yield shown
        else:
            yield Listeners(shown, opened.enter_context(open_log(folder)))


def _shown(flags: Mapping[str, Any]) -> Listener:
    progress = flags.get("progress", "text")
    if flags["quiet"] or progress == "none" or not is_first():
        return NULL_LISTENER
    if progress == "json":
        return JsonListener(sys.stderr)
    return ConsoleListener(open_console(sys.stderr), verbose=flags.get("verbose", False))
