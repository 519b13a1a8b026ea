"""Standard streams that may be closed or full: progress that nobody can be shown is left out, a result is not."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from onnxprune.errors import UnreachableError


class UnprintableError(UnreachableError):
    """Standard output takes nothing more: it is closed, or its disk is full."""


class Stream:
    """A text stream with all that it has, but for what `_failed` makes of a write that fails."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream
        self._error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        """Return what the stream has of that name."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text`."""
        self._attempt(lambda: self._stream.write(text))
        if self._error is not None:
            self._failed(self._error)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        before = self._error
        self._attempt(self._stream.flush)
        if self._error is not before and self._error is not None:
            self._failed(self._error)

    def _attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            self._error = error
            # What is still in its buffer would fail once more when the interpreter ends.
            self._stream = open(os.devnull, "w")  # noqa: PTH123, SIM115 (it is no path on every system, and stays open)

    def _failed(self, error: OSError) -> None:
        raise NotImplementedError


class Progress(Stream):
    """What is said beside a command's work, which goes on where nobody hears it."""

    def _failed(self, error: OSError) -> None:
        del error


class Outcome(Stream):
    """What a command is called for, which has failed where that cannot be told."""

    def _failed(self, error: OSError) -> None:
        """Raise.

        Raises:
            BrokenPipeError: whoever read it has seen enough, which is no failure worth a sentence.
            UnprintableError: anything else.
        """
        if isinstance(error, BrokenPipeError):
            raise error
        raise UnprintableError(f"Standard output cannot be written to ({error.strerror})", "unprintable") from None


def guard() -> None:
    """Put what a command prints on streams that can fail.

    A closed stream gets a file descriptor of its own, which nothing can be written to, before a model's file gets it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDONLY)  # the lowest that is free, so this one
    sys.stdout, sys.stderr = Outcome(_opened(sys.stdout, 1)), Progress(_opened(sys.stderr, 2))


def _opened(stream: TextIO | None, number: int) -> TextIO:
    """Return a stream that is there; what is closed is None to Python."""
    found = open(number, "w", closefd=False) if stream is None else stream  # noqa: SIM115 (it stays open)
    if hasattr(found, "reconfigure"):
        found.reconfigure(errors="backslashreplace")
    return found
