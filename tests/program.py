"""Running the command line inside the test process, on the sample models or on tiny ones."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from click.testing import CliRunner
from PIL import Image
from places import CALIB, RESNET

from onnxprune.cli.program import program


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        """The error, which has to be the last line on stderr and the only one of its kind."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("onnxprune: ")]
        assert lines == self.stderr.splitlines()[-1:], self.stderr
        assert "Traceback" not in self.stderr
        return lines[0].removeprefix("onnxprune: ")

    @property
    def error(self) -> dict[str, Any]:
        """The error as JSON, which has to be all that is on stdout; people get the same as a sentence."""
        error: dict[str, Any] = json.loads(self.stdout)
        assert list(error) == ["error", "code", "exit"]
        assert error["exit"] == self.code
        return error

    @property
    def error_event(self) -> dict[str, Any]:
        """The error as JSON, which has to be the last line on stderr and the only one of its kind."""
        said = [line for line in self.stderr.splitlines() if line.startswith('{"event": "error"')]
        assert said == self.stderr.splitlines()[-1:], self.stderr
        assert "onnxprune: " not in self.stderr
        error: dict[str, Any] = json.loads(said[0])
        assert list(error) == ["event", "error", "code", "exit"]
        assert error["exit"] == self.code
        return error


def call(*args: object, env: Mapping[str, str] | None = None) -> Ended:
    """Run `onnxprune` with these arguments."""
    result = CliRunner().invoke(program, [str(arg) for arg in args], env=env)
    return Ended(result.exit_code, result.stdout, result.stderr)


def refused(ended: Ended, *parts: str, code: int = 2) -> None:
    """Hold that a command ended with a sentence that says this, and printed nothing."""
    assert ended.code == code, ended.stderr
    assert ended.stdout == ""
    for part in parts:
        assert part in ended.sentence
    assert len(ended.sentence) > 20


def prune(output: Path, *args: object, model: Path = RESNET, data: Path | None = None) -> Ended:
    """Run the main job on few images, fed as the sample models need it (which saves the search for the preset)."""
    return call(model, "--data", data or few(), "--preprocess", "unit", "-o", output, *args)


@cache
def _workplace() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="onnxprune-few-")


@cache
def few() -> Path:
    """Return a folder with five images of each class of the calibration data."""
    for folder in CALIB.iterdir():
        target = Path(_workplace().name) / folder.name
        target.mkdir()
        for image in sorted(folder.iterdir())[:5]:
            shutil.copy(image, target)
    return Path(_workplace().name)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write a model."""
    path.write_bytes(model.SerializeToString())
    return path


def save_images(folder: Path, count: int, size: tuple[int, int] = (8, 8), classes: int = 0) -> Path:
    """Write random grey images, in class folders where there are classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"c{number % classes}" if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(place / f"{number:03}.png")
    return folder
