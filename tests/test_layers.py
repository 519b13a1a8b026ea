"""The architecture holds: who may import whom, and nobody imports torch."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(find_spec("importlinter") is None, reason="import-linter is not installed")
def test_lower_layers_never_import_higher_ones() -> None:
    found = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


@pytest.mark.parametrize("module", ["onnxprune", "onnxprune.cli"])
def test_importing_needs_no_torch(module: str) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module} does not exist yet")
    found = run(sys.executable, "-c", f"import sys, {module}; print(sorted(sys.modules))")
    assert found.returncode == 0, found.stderr
    modules = found.stdout
    assert "'onnxprune.pipeline.prune'" in modules
    for absent in ("torch", "sklearn", "matplotlib"):
        assert f"'{absent}'" not in modules
