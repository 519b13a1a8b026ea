"""Finding how many of a sequence are best to take, where every try is dear."""

from collections.abc import Callable
from itertools import pairwise

TRIES = 7
"""Counts that are tried at most."""


def find_count(error: Callable[[int], float], most: int, tries: int = TRIES) -> int:
    """Return the count from 0 to `most` with the least `error` of those that were tried.

    Both ends and the middle are tried first, then the middles of the wider gap beside the best. Of equal ones the
    smallest count is taken.
    """
    known = {count: error(count) for count in sorted({0, most // 2, most})[:tries]}
    while len(known) < tries:
        counts = sorted(known)
        place = counts.index(min(counts, key=lambda count: (known[count], count)))
        around = counts[max(0, place - 1) : place + 2]
        gaps = [(high - low, low) for low, high in pairwise(around)]
        width, low = max(gaps, default=(0, 0))
        if width < 2:
            break
        known[low + width // 2] = error(low + width // 2)
    return min(known, key=lambda count: (known[count], count))
