"""Wall-clock latency of whole networks, measured side by side so that their ratio is fair."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.graph.loaded import Model
from onnxprune.latency import board
from onnxprune.latency.device import Device
from onnxprune.latency.jobs import input_shapes, write_cut
from onnxprune.runtime.session import Feeds, Session
from onnxprune.values.axes import BoolArray
from onnxprune.values.interface import fitted
from onnxprune.values.outcome import Speedup

MIN_REPEATS = board.FEWEST
"""Fewer timings say nothing about their spread, so this many are made whatever the time budget is."""


@dataclass(frozen=True)
class Latency:
    """Time of one call: median and the 10th and 90th percentile in milliseconds, over `repeats` calls, and each."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    repeats: int
    batch: int
    times_ms: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types, but for the single times."""
        return {name: value for name, value in vars(self).items() if name != "times_ms"}

    def faster(self, other: "Latency") -> Speedup:
        """Return how many times as fast `other` is, call by call in the order in which they were timed in turn."""
        ratios = np.divide(self.times_ms, other.times_ms)
        low, middle, high = (float(value) for value in np.percentile(ratios, (10, 50, 90)))
        return Speedup(middle, low, high)


def measure(
    sessions: Mapping[str, Session],
    feeds: Feeds,
    *,
    repeats: int = 50,
    warmup: int = 3,
    budget_seconds: float = 3.0,
) -> dict[str, Latency]:
    """Time the sessions in turn, so that a busy moment of the machine hits all alike (see `board.in_turns`).

    Args:
        sessions: Models by name; all take the same feeds.
        feeds: What each call is given; axis 0 of the first array that has one is the batch.
        repeats: Timed calls of each model, at most; at least `MIN_REPEATS` are made.
        warmup: Untimed calls of each model before (the first calls allocate memory).
        budget_seconds: Time to spend per model; timing ends early when all of it is used.

    Returns:
        The latency of each model, all with the same number of repeats.

    Raises:
        InputError: a model cannot run on the feeds.
    """
    deadline = time.perf_counter() + budget_seconds * len(sessions)
    own = {name: fitted(feeds, session.interface) for name, session in sessions.items()}
    for done in range(warmup):
        if done and time.perf_counter() > deadline:
            break
        for name, session in sessions.items():
            session.run(own[name])
    calls = [partial(session.run, own[name]) for name, session in sessions.items()]
    settle = 0.0 if all(session.threads == 1 for session in sessions.values()) else board.SETTLE
    times = board.in_turns(calls, deadline - time.perf_counter(), max(repeats, MIN_REPEATS), settle)
    batch = next((len(value) for value in feeds.values() if np.ndim(value)), 1)
    return {name: _summary([1e3 * each for each in found], batch) for name, found in zip(sessions, times, strict=True)}


def time_cuts(
    model: Model, analysis: Analysis, keeps: Sequence[Mapping[str, BoolArray]], device: Device
) -> list[float]:
    """Return the median milliseconds that the network takes with each of these cuts, timed in turn."""
    with TemporaryDirectory(prefix="onnxprune-") as name:
        paths = [write_cut(model, analysis, keep, Path(name) / str(number)) for number, keep in enumerate(keeps)]
        files = [str(path) for path in paths]
        found = board.time_whole(files, input_shapes(analysis), device.threads, device.provider)
    return [times["median"] / 1000 for times in found]


def _summary(times: list[float], batch: int) -> Latency:
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    return Latency(median, p10, p90, len(times), batch, tuple(times))
