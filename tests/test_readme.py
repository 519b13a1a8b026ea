"""The README's commands and code are run as they stand, in a copy of the sample models."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT, SAMPLES

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    shutil.copytree(SAMPLES, tmp_path / "sample_models", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_onnxprune_command_of_the_readme_succeeds(clone: Path) -> None:
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ onnxprune")]
    assert len(lines) >= 6
    for line in lines:
        command = [sys.executable, "-m", *shlex.split(line)]
        done = subprocess.run(command, cwd=clone, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout, line
    assert (clone / "sample_models" / "digits_resnet.pruned.onnx").exists()
    assert (clone / "smaller.onnx").exists()


def test_the_python_code_of_the_readme_runs(clone: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=clone, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "can be cut" in done.stdout


def test_the_readme_opens_with_the_two_commands_and_stays_short() -> None:
    assert len(README.splitlines()) <= 120
    assert README.index("make demo") < README.index("make test") < README.index("pip install .")


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
