"""The time that is left of a whole run, from what its parts should take and what they took so far."""

import time
from collections.abc import Mapping

from onnxprune.pipeline.events import Part

MOST = 5.0
"""The factor by which expectations are corrected at most, up or down."""


class TimeLeft:
    """Knows the parts of a run, and which of them it is in."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._expected: Mapping[Part, float] = {}
        self._part: Part | None = None
        self._start = self._begun = time.perf_counter()

    def outlined(self, seconds: Mapping[Part, float]) -> None:
        """Take what is expected of the parts, in their order; the clock starts."""
        self._expected, self._part = dict(seconds), None
        self._start = self._begun = time.perf_counter()

    def begin(self, part: Part) -> None:
        """Note that a part begins."""
        self._part, self._begun = part, time.perf_counter()

    def seconds(self, counted: float | None = None) -> float | None:
        """Return what is left; None where nothing is known of the run, or a part takes longer than it should.

        Args:
            counted: what is left at least of this part, by steps of it that are counted.
        """
        parts = list(self._expected)
        if self._part not in parts:
            return None
        place, now = parts.index(self._part), time.perf_counter()
        done = sum(self._expected[part] for part in parts[:place])
        factor = min(MOST, max(1 / MOST, (self._begun - self._start) / done)) if done else 1.0
        here = max(factor * self._expected[self._part] - (now - self._begun), -1.0 if counted is None else counted)
        return None if here < 0 else here + factor * sum(self._expected[part] for part in parts[place + 1 :])


def in_words(seconds: float | None) -> str:
    """Return a time that is left, such as `run: 2 min left`; empty where it is not known."""
    if seconds is None:
        return ""
    if seconds < 10:
        return "run: seconds left"
    if seconds < 60:
        return f"run: {10 * round(seconds / 10)} s left"
    return f"run: {round(seconds / 60)} min left"
