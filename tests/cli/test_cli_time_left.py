"""The time that is left of a run: expectations at first, corrected by what its parts took."""

import io
import time

import pytest
from rich.console import Console

from onnxprune.cli import progress, time_left
from onnxprune.cli.console import ConsoleListener
from onnxprune.cli.time_left import TimeLeft, in_words
from onnxprune.pipeline.events import Outlined, PartBegun, Working


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock of one number, which a test moves."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def seconds(left: TimeLeft) -> float | None:
    return left.seconds()


def test_it_follows_from_what_is_expected_and_what_has_passed(clock: list[float]) -> None:
    left = TimeLeft()
    left.outlined({"planning": 10.0, "checking": 2.0, "recovery": 20.0})
    assert seconds(left) is None
    left.begin("planning")
    assert seconds(left) == 32
    clock[0] += 4
    assert seconds(left) == 28
    clock[0] += 16  # twice what was expected, as may be of the rest
    assert seconds(left) is None, "it takes longer than it should, who knows how long"
    assert left.seconds(5.0) == 27, "steps that are counted know"
    left.begin("checking")
    assert seconds(left) == 44
    clock[0] += 2
    left.begin("recovery")
    assert seconds(left) == pytest.approx(20 * 22 / 12)
    left.begin("measuring")
    assert seconds(left) is None, "nothing was expected of it"


def test_what_was_far_off_corrects_within_bounds(clock: list[float]) -> None:
    left = TimeLeft()
    left.outlined({"planning": 1.0, "recovery": 10.0})
    left.begin("planning")
    clock[0] += 100
    left.begin("recovery")
    assert seconds(left) == 10 * time_left.MOST


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (3.0, "run: seconds left"),
        (44.0, "run: 40 s left"),
        (100.0, "run: 2 min left"),
    ],
)
def test_in_words(seconds: float | None, words: str) -> None:
    assert in_words(seconds) == words


def test_a_bar_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    stream = io.StringIO()
    with ConsoleListener(Console(file=stream, force_terminal=True, width=120)) as listener:
        listener.hear(Outlined({"planning": 600.0}))
        listener.hear(PartBegun("planning"))
        listener.hear(Working("Thinking"))
        end = time.monotonic() + 20
        while "run: 10 min left" not in stream.getvalue() and time.monotonic() < end:
            time.sleep(0.01)
    assert "run: 10 min left" in stream.getvalue()
