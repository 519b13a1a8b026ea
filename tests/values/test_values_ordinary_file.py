"""What is read is a file: pipes are not waited for, and devices not read without end."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from places import CALIB, RESNET
from program import Ended, call, refused, save_images

from onnxprune.values.ordinary_file import open_ordinary, read_text

NO_FILE = "(it is a pipe, a device or a folder)"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe that nobody writes to."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_file_and_what_is_none(tmp_path: Path, pipe: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes("\N{BYTE ORDER MARK}café".encode())
    assert read_text(text) == "café"
    for path in (pipe, Path(os.devnull), tmp_path):
        with pytest.raises(OSError, match=r"pipe|directory"):
            open_ordinary(path)


@pytest.mark.parametrize(
    "command",
    [
        lambda pipe: call("inspect", pipe),
        lambda pipe: call(pipe, "--data", CALIB),
        lambda pipe: call(RESNET, "--data", CALIB, "--labels", pipe),
        lambda pipe: call(RESNET, "--macs", "50%", "--method", "l1", "--scores", pipe),
        lambda pipe: call(RESNET, "--config", pipe),
        lambda pipe: call("apply", RESNET, pipe),
        lambda pipe: call("finetune", RESNET, "--data", CALIB, "--teacher", pipe),
    ],
    ids=["inspect", "model", "labels", "scores", "config", "plan", "teacher"],
)
def test_no_command_waits_for_a_pipe(pipe: Path, command: Callable[[Path], Ended]) -> None:
    refused(command(pipe), str(pipe), NO_FILE)


@pytest.mark.parametrize("ending", [".npz", ".npy"])
def test_no_command_waits_for_data_that_are_a_pipe(pipe: Path, ending: str) -> None:
    data = pipe.rename(pipe.with_suffix(ending))
    refused(call(RESNET, "--data", data), str(data), NO_FILE)


def test_a_device_is_no_model() -> None:
    refused(call("inspect", "/dev/zero"), "/dev/zero cannot be read", NO_FILE)


def test_a_socket_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.onnx")
        refused(call("inspect", "a.onnx"), "a.onnx cannot be read")


def test_an_image_that_is_a_pipe_is_named(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "images", 6)
    os.mkfifo(folder / "pipe.png")
    ended = call(RESNET, "--data", folder, "--macs", "50%", "--method", "l1", "-o", tmp_path / "a.onnx")
    assert ended.code == 2
    assert "pipe.png'): repair or remove" in ended.sentence
