"""How long work reports its progress without knowing who shows it.

A stage wraps what it loops over in a `Track`; the command line passes one that draws a bar, libraries and
tests pass `silent`. Items are batches: the bar advances by `len(item)`, so that `total` counts samples.
"""

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
