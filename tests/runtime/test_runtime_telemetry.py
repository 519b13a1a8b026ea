"""What is run is told to nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from folders import contents
from places import RESNET

CUT = ("-m", "onnxprune", RESNET, "--method", "l1", "--ratio", "50%", "-q", "-o", os.devnull)


@pytest.mark.parametrize("command", [("-c", "import onnxprune, onnxruntime"), CUT], ids=["import", "run"])
def test_onnxruntime_leaves_nothing_in_the_users_folders(tmp_path: Path, command: tuple[str, ...]) -> None:
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "ONNXPRUNE_CACHE": str(tmp_path / "ours")}
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, *command], check=True, env={**env, **home}, capture_output=True)
    assert [name for name in contents(tmp_path) if not name.startswith("ours")] == []


def test_whoever_wants_it_otherwise_is_heard() -> None:
    code = "import os, onnxprune; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    env = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    assert subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True).stdout.strip() == b"0"
