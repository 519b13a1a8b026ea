"""A run in steps that the system kills leaves no broken file, and --resume ends with the same bytes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from folders import contents, names
from places import CONVNET, RESNET
from program import call, few

from onnxprune.pipeline import prune as pruning

ARGS = ("--preprocess", "unit", "--method", "catro", "--macs", "10%", "--steps", "3", "--recover", "bias")
LONG = 120.0
"""Seconds after which a process that should have come to a certain point has failed."""


def steps_done(folder: Path) -> int:
    """Return how many steps the state has, which is whole whenever it is there."""
    try:
        return len(json.loads((folder / "a.steps.json").read_text())["left"])
    except FileNotFoundError:
        return 0


def is_staging(folder: Path) -> bool:
    """Whether the result is being made."""
    try:
        return steps_done(folder) == 3 and any(folder.glob(".onnxprune-*.part/*.onnx"))
    except FileNotFoundError:  # a temporary folder went meanwhile
        return False


def killed(folder: Path, moment: Callable[[Path], bool]) -> None:
    """Run until a moment has come, and kill the process."""
    args = map(str, (CONVNET, "--data", few(), *ARGS, "-o", folder / "a.onnx"))
    command = [sys.executable, "-m", "onnxprune", *args]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + LONG
        while not moment(folder):
            assert process.poll() is None, (process.stderr or sys.stdin).read()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    ended = call(CONVNET, "--data", few(), *ARGS, "-o", folder / "a.onnx")
    assert ended.code == 0, ended.stderr
    found = contents(folder)
    assert set(found) == {"a.onnx", "a.plan.json"}
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    "moment",
    [lambda folder: steps_done(folder) == 1, lambda folder: steps_done(folder) == 2, is_staging],
    ids=["first step", "second step", "staging"],
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path, whole: dict[str, bytes], moment: Callable[[Path], bool]
) -> None:
    before = CONVNET.read_bytes()
    killed(tmp_path, moment)
    assert CONVNET.read_bytes() == before
    assert not list(tmp_path.glob("*.onnx")), "the model comes last"
    left = steps_done(tmp_path)
    assert left >= 1
    again = call(CONVNET, "--data", few(), *ARGS, "-o", tmp_path / "a.onnx")
    assert again.code == 2
    assert again.sentence == f"'{tmp_path / 'a.steps.json'}' is there already; go on with --resume, or remove it."
    ended = call(CONVNET, "--data", few(), *ARGS, "-o", tmp_path / "a.onnx", "--resume")
    assert ended.code == 0, ended.stderr
    assert f"Going on after step {left} of 3." in ended.stderr
    assert contents(tmp_path) == whole, "and nothing of the killed process is left"
    onnx.checker.check_model(onnx.load(tmp_path / "a.onnx"), full_check=True)


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    args = (CONVNET, "--data", few(), *ARGS, "-o", tmp_path / "a.onnx")
    with monkeypatch.context() as patch:
        patch.setattr("onnxprune.pipeline.opening.open_state", interrupted)
        assert call(*args).sentence == "interrupted; nothing was written"
    with monkeypatch.context() as patch:
        patch.setattr(pruning, "cut_and_verify", interrupted)
        ended = call(*args)
    assert ended.code == 130
    assert ended.sentence == (
        f"interrupted; the steps that were finished are in {tmp_path / 'a.steps.json'}, go on with --resume"
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--macs", "50%", "--resume"), "--resume goes on with a run in steps; give the number of --steps"),
        (("--macs", "50%", "--steps", "2", "--resume"), "There is no state"),
        (("--macs", "50%", "--steps", "0"), "--steps"),
        (("--macs", "50%", "--steps", "2", "--plan", "a.steps.json"), "would both be written to"),
    ],
)
def test_what_cannot_be_resumed_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = call(RESNET, "--data", few(), "-o", "a.onnx", *args)
    assert ended.code == 2
    assert said in ended.sentence
    assert not names(tmp_path)


def test_a_plan_of_before_that_says_rounds_is_replayed(tmp_path: Path) -> None:
    args = ("--method", "l1", "--ratio", "50%", "--steps", "2", "--dry-run")
    assert call(RESNET, *args, "-o", tmp_path / "a.onnx").code == 0
    plan = tmp_path / "a.plan.json"
    text = plan.read_text()
    assert '"steps": 2' in text
    plan.write_text(text.replace('"steps": 2', '"rounds": 2'))
    ended = call("apply", RESNET, plan, "-o", tmp_path / "b.onnx")
    assert ended.code == 0, ended.stderr
    assert "chosen in 2 steps" in ended.stdout
