"""A command whose standard streams are closed, full or a pipe."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from folders import names
from large import NAMES, model, outside, packed
from places import RESNET
from program import call, refused

from onnxprune.graph.storage.load import load_model

CUT = ("--method", "l1", "--ratio", "50%", "--round-to", "1")
FULL = Path("/dev/full")

only_with_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")


def shell(arguments: Sequence[object], ending: str = "", **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the program in a shell, as `ending` redirects its streams."""
    line = " ".join(f"'{word}'" for word in (sys.executable, "-m", "onnxprune", *arguments))
    return subprocess.run(["sh", "-c", f"{line} {ending}"], check=False, capture_output=True, timeout=120, **more)


@pytest.mark.parametrize("ending", [pytest.param("> /dev/full", marks=only_with_full), ">&-"])
@pytest.mark.parametrize("command", [("methods", "--json"), ("--help",)], ids="-".join)
def test_what_cannot_be_printed_is_one_sentence(command: tuple[str, ...], ending: str) -> None:
    ended = shell(command, ending)
    assert ended.returncode == 1
    (line,) = ended.stderr.decode().splitlines()
    assert line.startswith("onnxprune: Standard output cannot be written to (")


@pytest.mark.parametrize(
    ("ending", "more"), [pytest.param("> /dev/full", "-v", marks=only_with_full), (">&-", "--json")]
)
def test_a_model_stays_whose_result_cannot_be_printed(tmp_path: Path, ending: str, more: str) -> None:
    output = tmp_path / "a.onnx"
    ended = shell((RESNET, *CUT, more, "-o", output), ending)
    assert ended.returncode == 1
    said = ended.stderr.decode().splitlines()
    assert [line for line in said if line.startswith("onnxprune: ")] == said[-1:]
    assert f"but the result is written: {output}, {tmp_path / 'a.plan.json'}" in said[-1]
    onnx.checker.check_model(onnx.load(output))


@pytest.mark.parametrize("ending", [pytest.param("2> /dev/full", marks=only_with_full), "2>&- <&-"])
def test_progress_that_cannot_be_shown_stops_nothing(tmp_path: Path, ending: str) -> None:
    ended = shell((RESNET, *CUT, "-o", tmp_path / "a.onnx"), ending)
    assert ended.returncode == 0
    assert b"Model written to" in ended.stdout
    assert names(tmp_path) == ["a.onnx", "a.plan.json"]


def test_files_do_not_get_the_descriptors_of_closed_streams(tmp_path: Path) -> None:
    shell((RESNET, *CUT, "-o", tmp_path / "a.onnx"), ">&- 2>&- <&-")
    call(RESNET, *CUT, "-q", "-o", tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    ended = shell((RESNET, *CUT, "-q", "-o", tmp_path / "a.onnx"), "| true")
    assert ended.stderr == b""
    assert names(tmp_path) == ["a.onnx", "a.plan.json"]


# ---- -o - ----


def test_a_model_goes_to_standard_output(tmp_path: Path) -> None:
    call(RESNET, *CUT, "-q", "-o", tmp_path / "a.onnx")
    ended = shell((RESNET, *CUT, "-o", "-"), cwd=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout == (tmp_path / "a.onnx").read_bytes()
    assert b"Reached: " in ended.stderr
    assert b"written to" not in ended.stderr
    assert names(tmp_path) == ["a.onnx", "a.plan.json"]
    replayed = shell(("apply", RESNET, tmp_path / "a.plan.json", "-o", "-", "-q"), cwd=tmp_path)
    assert replayed.stdout == ended.stdout
    assert names(tmp_path) == ["a.onnx", "a.plan.json"]


def test_its_plan_is_written_where_one_is_asked_for(tmp_path: Path) -> None:
    ended = shell((RESNET, *CUT, "-o", "-", "--plan", tmp_path / "cut.json"), cwd=tmp_path)
    assert f"Plan written to {tmp_path / 'cut.json'}" in ended.stderr.decode()
    assert names(tmp_path) == ["cut.json"]


@pytest.mark.parametrize("name", ["weights.bin", "weights.txt"])
def test_weights_of_data_files_go_along(tmp_path: Path, name: str) -> None:
    path = outside(model(), tmp_path / "in", packed(model(), NAMES, name))
    call(path, *CUT, "-q", "-o", tmp_path / "a.onnx")
    ended = shell((path, *CUT, "-q", "-o", "-"))
    whole = onnx.load_from_string(ended.stdout)
    assert ended.returncode == 0
    assert whole == load_model(tmp_path / "a.onnx")
    assert not [tensor for tensor in whole.graph.initializer if tensor.external_data]


@only_with_full
def test_a_model_that_standard_output_does_not_take(tmp_path: Path) -> None:
    ended = shell((RESNET, *CUT, "-q", "-o", "-"), "> /dev/full", cwd=tmp_path)
    assert ended.returncode == 1
    assert b"Standard output cannot be written to (No space left on device)." in ended.stderr
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ((RESNET, *CUT, "--dry-run"), "A dry run makes no model"),
        ((RESNET, *CUT, "--quantize", "int8", "--data", RESNET.parent / "calib"), "name it with --quantized"),
        (("finetune", RESNET, "--data", RESNET.parent / "calib"), "name a file with -o in place of -"),
        (("iterate", RESNET, "--data", RESNET.parent / "calib"), "name a file with -o in place of -"),
    ],
    ids=["dry-run", "quantize", "finetune", "iterate"],
)
def test_what_does_not_go_with_a_pipe(command: tuple[object, ...], said: str) -> None:
    refused(call(*command, "-o", "-"), said)


def test_a_pipe_and_json() -> None:
    ended = call(RESNET, *CUT, "--json", "-o", "-")
    assert ended.code == 2
    assert "--json would both go to standard output" in ended.error["error"]
