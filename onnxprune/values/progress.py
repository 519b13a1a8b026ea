"""How long work reports its progress without knowing who shows it.

A stage wraps what it loops over in a `Track`; the command line passes one that draws a bar, libraries and
tests pass `silent`. Items are batches: the bar advances by `len(item)`, so that `total` counts samples.
"""

import time
from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

Item = TypeVar("Item", bound=Sized)


class Track(Protocol):
    """Yields every item unchanged, in order, and reports `len(item)` steps done after each."""

    def __call__(self, items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        """Pass `items` through; `total` is the sum of their lengths and `what` names the work."""
        ...


def silent(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """Yield the items and report nothing: the `Track` of libraries and tests."""
    del total, what
    yield from items


PERIOD = 0.1
"""Seconds between two reports on the same work."""


class Throttle:
    """Lets a report on work pass at most every `PERIOD` seconds, and always the last one."""

    def __init__(self) -> None:
        self._last = 0.0

    def is_due(self, done: int, total: int) -> bool:
        """Whether to report now that `done` of `total` steps are done."""
        now = time.monotonic()
        if done < total and now - self._last < PERIOD:
            return False
        self._last = now
        return True
