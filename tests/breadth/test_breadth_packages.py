"""Trained models of installed packages: cut, and checked by nothing of onnxprune."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.packages import PACKAGES, installed, row

FOUND = tuple(installed())


@pytest.mark.skipif(not FOUND, reason=f"none of {', '.join(PACKAGES)} is installed")
@pytest.mark.parametrize(("package", "path"), FOUND)
def test_models_of_packages_are_cut_right(package: str, path: Path) -> None:
    *_, verdict = row(package, path, 0.3)
    assert verdict.startswith(("equal", "not checked", "Nothing can be pruned"))
