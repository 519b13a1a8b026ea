"""Who listens to a run: a console, a program, a notebook, nobody."""

import io
import json
import time
from typing import Any

import pytest
from rich.console import Console

from onnxprune.cli.console import ConsoleListener
from onnxprune.cli.json_lines import JsonListener
from onnxprune.cli.listening import Listeners, open_listener
from onnxprune.cli.options import Talk
from onnxprune.cli.tensorboard import LogListener
from onnxprune.notebook import Bundle, NotebookListener
from onnxprune.pipeline.events import (
    NULL_LISTENER,
    BatchTrained,
    EpochTrained,
    Event,
    IterationBegun,
    LeastLeft,
    Listener,
    Resumed,
    TrainingBegun,
    TrainingEnded,
    Working,
)
from onnxprune.values.training import Epoch

EPOCH = Epoch(1, 1.5, 1.25, 0.75, 0.1, 2.0)
TRAINING: tuple[Event, ...] = (
    TrainingBegun(2),
    BatchTrained(1, 1, 1, 1.5, 0.1),
    EpochTrained(EPOCH, True),
    TrainingEnded(),
)


class Recorder:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def hear(self, event: Event) -> None:
        self.heard.append(event)

    track = NULL_LISTENER.track


def flags(**more: Any) -> Talk:
    return Talk(**more)


def through(listener: Listener, items: list[str]) -> list[str]:
    return list(listener.track(items, total=sum(map(len, items)), what="Counting"))


def test_a_console_has_a_line_an_event_and_an_epoch() -> None:
    stream = io.StringIO()
    with ConsoleListener(Console(file=stream, width=200)) as listener:
        for event in (Working("Thinking"), LeastLeft({"macs": 0.25}), Resumed("Going on."), IterationBegun(2)):
            listener.hear(event)
        for trained in TRAINING:
            listener.hear(trained)
        assert through(listener, ["aa", "b"]) == ["aa", "b"]
    assert stream.getvalue().splitlines() == [
        "The least that can be left: 25.0 % of the MACs.",
        "Going on.",
        "Iteration 2:",
        "epoch 1 *, loss 1.5000, validation loss 1.2500, top-1 75.00 %, rate 0.1, seconds 2.0",
    ]


def test_a_terminal_has_a_table_that_stays() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    with ConsoleListener(console) as listener:
        for event in (Working("Training"), *TRAINING, *TRAINING):
            listener.hear(event)
    assert "validation loss" in stream.getvalue()
    assert console._live_stack == []


def test_a_program_reads_one_object_a_line() -> None:
    stream = io.StringIO()
    listener = JsonListener(stream)
    for event in (Working("Thinking"), LeastLeft({"macs": 0.25}), *TRAINING):
        listener.hear(event)
    assert through(listener, ["aa", "b"]) == ["aa", "b"]
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert found[:2] == [{"event": "working", "what": "Thinking"}, {"event": "least_left", "shares": {"macs": 0.25}}]
    assert found[4] == {"event": "epoch_trained", **EPOCH.to_json(), "best": True}
    assert found[-1] == {"event": "progress", "what": "Counting", "done": 3, "total": 3}


def test_progress_is_throttled_and_its_end_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    for number, _ in enumerate(JsonListener(stream).track(["a"] * 100, total=100, what="Counting")):
        now[0] = 100 + number * 0.01
    done = [json.loads(line)["done"] for line in stream.getvalue().splitlines()]
    assert (done[0], done[-1]) == (0, 100)
    assert 10 <= len(done) <= 13


def test_what_json_has_no_number_for_is_null() -> None:
    stream = io.StringIO()
    JsonListener(stream).hear(EpochTrained(Epoch(0, None, float("nan"), None), False))
    assert json.loads(stream.getvalue())["validation_loss"] is None


@pytest.mark.parametrize("more", [{"quiet": True}, {"progress": "none"}])
def test_silence_is_silent(more: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with open_listener(flags(**more)) as listener:
        listener.hear(Resumed("Going on."))
        assert through(listener, ["aa"]) == ["aa"]
    assert capsys.readouterr().err == ""


def test_only_the_first_of_several_processes_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with open_listener(flags(progress="json")) as listener:
        assert listener is NULL_LISTENER


def test_the_flag_decides_who_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with open_listener(flags(progress="json")) as listener:
        listener.hear(Resumed("Going on."))
    assert json.loads(capsys.readouterr().err) == {"event": "resumed", "message": "Going on."}
    with open_listener(flags()) as listener:
        listener.hear(Resumed("Going on."))
    assert capsys.readouterr().err == "Going on.\n"


def test_several_listeners_hear_the_same() -> None:
    first, second = Recorder(), Recorder()
    both = Listeners(first, second)
    both.hear(Resumed("Going on."))
    assert first.heard == second.heard == [Resumed("Going on.")]
    assert through(both, ["aa", "b"]) == ["aa", "b"]


def test_logs_have_every_step_and_epoch() -> None:
    class Log:
        rows: list[tuple[str, float, int]] = []  # noqa: RUF012

        def add_scalar(self, name: str, value: float, at: int) -> None:
            self.rows.append((name, value, at))

    for event in TRAINING:
        LogListener(Log()).hear(event)
    assert ("loss/step", 1.5, 1) in Log.rows
    assert ("top1/validation", 0.75, 1) in Log.rows


def test_a_notebook_shows_and_replaces() -> None:
    shown: list[list[Bundle]] = []

    def show(bundle: Bundle) -> Any:
        shown.append([bundle])
        return shown[-1].append

    listener = NotebookListener(show)
    listener.hear(Resumed("a <b> model"))
    assert shown[0][0]["text/html"] == "<pre>a &lt;b&gt; model</pre>"
    assert through(listener, ["aa", "b"]) == ["aa", "b"]
    assert shown[1][-1]["text/plain"] == "Counting: 3 of 3 steps"
    for event in TRAINING:
        listener.hear(event)
    assert len(shown) == 3
    assert "75.0 %" in shown[2][-1]["text/plain"]


def test_without_a_notebook_it_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    listener = NotebookListener()
    listener.hear(Working("Thinking"))
    through(listener, ["aa", "b"])
    for event in TRAINING:
        listener.hear(event)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Thinking ...", "Counting: 3 of 3 steps"]
    assert sum("75.0 %" in line for line in lines) == 1
