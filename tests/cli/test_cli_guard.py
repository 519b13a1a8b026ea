"""The flags that limit what is lost, and those of the curve."""

import json
from pathlib import Path

import pytest
from folders import names
from places import CALIB, CONVNET, RESNET
from program import call, prune

CHEAP = ("--method", "l1", "--recover", "none")


def test_the_result_says_what_was_tried(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", *CHEAP, "--max-drop", "1%", "-v", model=CONVNET, data=CALIB)
    assert ended.code == 0, ended.stderr
    assert "Requested: at most 1 point of top-1 lost on held-out data;" in ended.stdout
    assert "Tried: " in ended.stdout
    assert "Plans that were tried" in ended.stdout
    assert " (taken)" in ended.stdout
    assert "Warning: careful: 60 held-out images do not show at 95 % that the limit holds" in ended.stdout
    plan = json.loads((tmp_path / "a.plan.json").read_text())
    assert plan["request"] == {"round_to": 8, "max_drop": 0.01}


def test_what_is_not_shown_to_hold_is_not_written_where_that_is_required(tmp_path: Path) -> None:
    flags = ("--max-drop", "1", "--require-confidence")
    ended = prune(tmp_path / "a.onnx", *CHEAP, *flags, model=CONVNET, data=CALIB)
    assert ended.code == 1
    assert "60 held-out images do not show at 95 % that the limit holds" in ended.sentence
    assert not list(tmp_path.iterdir())
    sure = prune(tmp_path / "a.onnx", *CHEAP, "--max-drop", "20", "--require-confidence", model=CONVNET, data=CALIB)
    assert sure.code == 0, sure.stderr
    assert json.loads((tmp_path / "a.plan.json").read_text())["promise"]["state"] == "held"


def test_the_page_and_the_curve_are_written_with_the_model(tmp_path: Path) -> None:
    flags = ("--max-drift", "20%", "--pareto", tmp_path / "c", "--report", tmp_path / "r.html")
    ended = prune(tmp_path / "a.onnx", *CHEAP, *flags, model=CONVNET, data=CALIB)
    assert ended.code == 0, ended.stderr
    assert "no output changed by more than 20 % on held-out data" in ended.stdout
    assert f"Curve (csv) written to {tmp_path / 'c.csv'}" in ended.stdout
    assert "Plans that were tried" in (tmp_path / "r.html").read_text()
    found = names(tmp_path)
    assert found == ["a.onnx", "a.plan.json", "c.csv", "c.json", "c.svg", "r.html"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--max-drop", "many"), "'many' is no number of points from 0 to 100"),
        (("--max-drop", "-1"), "no number of points"),
        (("--max-drop", "101"), "no number of points"),
        (("--max-drift", "20"), "did you mean 20%?"),
        (("--max-drift", "x"), "is no percentage"),
        (("--max-drop", "1", "--no-accuracy-check"), "--max-drop needs the accuracy"),
    ],
)
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    ended = prune(tmp_path / "a.onnx", *CHEAP, *flags)
    assert ended.code == 2
    assert said in ended.sentence


def test_a_curve_overwrites_nothing_that_is_read_or_written(tmp_path: Path) -> None:
    report = prune(tmp_path / "a.onnx", "--macs", "50%", "--pareto", tmp_path / "c", "--report", tmp_path / "c.svg")
    assert report.code == 2
    assert "would both be written to" in report.sentence
    gone = call(
        RESNET, "--data", CALIB, "--macs", "50%", "--pareto", tmp_path / "gone" / "c", "-o", tmp_path / "a.onnx"
    )
    assert gone.code == 2
    assert "The curve's .csv cannot be written" in gone.sentence


def test_budgets_that_lose_too_much_end_with_one(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", *CHEAP, "--macs", "3%", "--max-drop", "1")
    assert ended.code == 1
    assert "loses" in ended.sentence
    assert "where --max-drop allows 1 (on" in ended.sentence
    assert "so nothing was written; " in ended.sentence
    assert not list(tmp_path.iterdir())
