"""The timer that travels: what it takes with it, what it reports, and what it says of bad arguments."""

import json
import os
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pytest
from folders import names

from onnxprune.graph.single_layer import KERNELS, probe
from onnxprune.latency import board


def convolution(width: int = 8, *, inputs: bool = False) -> tuple[bytes, dict[str, Any]]:
    model, data = probe(width, 8, 6, 17, inputs=inputs)
    return model.SerializeToString(), {"x": data}


def test_kernels_are_timed_by_the_runtimes_own_profile() -> None:
    model, feeds = convolution()
    found = board.time_layer(model, feeds, KERNELS["Conv"], threads=1)
    assert 0 < found["p10"] <= found["median"] <= found["p90"]
    assert found["runs"] >= board.FEWEST


def test_a_call_is_timed_where_no_kernel_has_the_name() -> None:
    model, feeds = convolution()
    assert board.time_layer(model, feeds, ("NoSuchKernel",))["median"] > 0


def test_more_work_takes_longer() -> None:
    (small, feeds), (large, more) = convolution(4), convolution(512)
    few = board.time_layer(small, feeds, KERNELS["Conv"], threads=1)["p10"]
    assert board.time_layer(large, more, KERNELS["Conv"], threads=1)["p10"] > 2 * few


def test_models_are_timed_in_turn() -> None:
    model, feeds = convolution()
    found = board.time_whole([model, model], feeds, seconds=0.01)
    assert len(found) == 2
    assert found[0]["runs"] == found[1]["runs"] >= board.FEWEST


def test_models_of_which_a_cut_narrowed_inputs_are_timed_with_their_own() -> None:
    (wide, feeds), (narrow, less) = convolution(8, inputs=True), convolution(4, inputs=True)
    assert feeds != less
    assert len(board.time_whole([wide, narrow], feeds, seconds=0.01)) == 2


def archive(path: Path) -> Path:
    """Write what `pack` writes, with one layer and one whole network."""
    model, feeds = convolution()
    jobs = [
        {"id": "a", "file": "a.onnx", "feeds": feeds, "ops": list(KERNELS["Conv"])},
        {"id": "b", "file": "a.onnx", "feeds": feeds, "ops": []},
    ]
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("__main__.py", Path(board.__file__).read_bytes())
        opened.writestr("a.onnx", model)
        opened.writestr("jobs.json", json.dumps({"format": 1, "jobs": jobs}))
    return path


BARE = """
import runpy, sys
for name in ("onnx", "onnxprune", "onnx_graphsurgeon", "scipy", "PIL", "click", "rich", "torch"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_archive_runs_with_numpy_and_onnxruntime_alone(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", BARE, str(archive(tmp_path / "board.pyz")), "-o", str(tmp_path / "device.json")]
    subprocess.run([*arguments, "--threads", "1"], check=True, capture_output=True, cwd=tmp_path)
    found = json.loads((tmp_path / "device.json").read_text())
    assert set(found) == {"format", "times", "machine"}
    assert set(found["times"]) == {"a", "b"}
    assert found["machine"]["threads"] == 1
    assert found["machine"]["provider"] == "CPUExecutionProvider"
    assert names(tmp_path) == ["board.pyz", "device.json"]


@pytest.mark.parametrize("arguments", [["--provider", "NoneProvider"], ["--threads", "0"]])
def test_bad_arguments_are_told(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        board.main(str(archive(tmp_path / "board.pyz")), arguments)
    assert left.value.code == 2
    assert "usage: board" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(
    tmp_path: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    target = tmp_path / "d.json"
    board.main(str(archive(tmp_path / "board.pyz")), ["-o", str(target)])
    *progress, last = capsys.readouterr().err.lstrip("\r").split("\r")
    assert last == f"2 timings written to {target}\n"
    assert progress == (["1 of 2 timed", "2 of 2 timed"] if terminal else [])


def test_the_archive_and_devices_are_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = archive(tmp_path / "board.pyz")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(packed)
    before = packed.read_bytes()
    for name, said in (("board.pyz", "is this archive"), ("link", "is this archive"), ("fifo", "is no file")):
        with pytest.raises(SystemExit):
            board.main(str(packed), ["-o", str(tmp_path / name)])
        assert said in capsys.readouterr().err
    assert packed.read_bytes() == before


def test_a_link_is_followed_and_modes_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "d.json"
    target.write_text("old")
    target.chmod(0o604)
    (tmp_path / "link").symlink_to(target)
    board.main(str(archive(tmp_path / "board.pyz")), ["-o", str(tmp_path / "link")])
    assert json.loads(target.read_text())["times"]
    assert target.stat().st_mode & 0o777 == 0o604
    assert (tmp_path / "link").is_symlink()


def test_as_a_module_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(archive(tmp_path / "board.pyz")), "-o", str(tmp_path / "d.json")])
    runpy.run_path(str(tmp_path / "board.pyz"), run_name="__main__")
    assert json.loads((tmp_path / "d.json").read_text())["times"]["b"]["median"] > 0


def test_the_probe_is_a_sound_model() -> None:
    for inputs in (False, True):
        onnx.checker.check_model(probe(12, 8, 6, 17, inputs=inputs)[0], full_check=True)
