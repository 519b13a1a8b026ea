import io
import time

import pytest
from rich.console import Console

from onnxprune.cli import progress as meter
from onnxprune.cli.progress import Meter


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=terminal, width=100), stream


def pause(items: list[str], seconds: float, on: Meter) -> list[str]:
    found = []
    for item in on(items, total=sum(map(len, items)), what="Counting"):
        time.sleep(seconds)
        found.append(item)
    return found


@pytest.mark.parametrize("terminal", [True, False])
def test_short_work_shows_nothing(terminal: bool) -> None:
    shown, stream = console(terminal=terminal)
    with Meter(shown) as track:
        assert pause(["aa", "b"], 0, track) == ["aa", "b"]
        track.working("Thinking")
    assert stream.getvalue() == ""


def test_long_work_shows_a_bar_with_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "PATIENCE", 0.02)
    shown, stream = console(terminal=True)
    with Meter(shown) as track:
        pause(["aaaa"] * 6, 0.1, track)
    assert "Counting" in stream.getvalue()
    assert "/s" in stream.getvalue()
    assert "/24" in stream.getvalue()


def test_long_work_without_steps_shows_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "PATIENCE", 0.02)
    shown, stream = console(terminal=True)
    with Meter(shown) as track:
        track.working("Thinking")
        time.sleep(0.2)
    assert "Thinking" in stream.getvalue()


def test_without_a_terminal_long_work_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "PATIENCE", 0.02)
    shown, stream = console(terminal=False)
    with Meter(shown) as track:
        pause(["aa"] * 3, 0.02, track)
    assert stream.getvalue().startswith("Counting: 6 of 6 in 0.")
    assert stream.getvalue().count("\n") == 1


def fail(shown: Console) -> None:
    with Meter(shown) as track:
        track.working("Thinking")
        time.sleep(0.05)
        raise ZeroDivisionError


def test_a_failure_leaves_no_bar_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "PATIENCE", 0.01)
    shown, _ = console(terminal=True)
    with pytest.raises(ZeroDivisionError):
        fail(shown)
    assert shown._live_stack == []


def test_after_counted_steps_the_work_that_goes_on_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "PATIENCE", 0.02)
    shown, stream = console(terminal=True)
    with Meter(shown) as track:
        track.working("Thinking")
        pause(["a"], 0, track)
        time.sleep(0.3)
    assert "Thinking" in stream.getvalue()
    assert "Counting" not in stream.getvalue()
    assert shown._live_stack == []
