"""The architecture holds: who may import whom, and nobody but `finetune` imports torch."""

import os
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.util import find_spec

import pytest
from places import ROOT


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(find_spec("importlinter") is None, reason="import-linter is not installed")
def test_lower_layers_never_import_higher_ones() -> None:
    found = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


@pytest.mark.skipif(find_spec("grimp") is None, reason="import-linter is not installed")
def test_no_modules_import_each_other_not_even_lazily_or_for_types() -> None:
    import grimp

    graph = grimp.build_graph("onnxprune", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises where there is a circle


IMPORT_ALL = """
import importlib, pkgutil, sys, onnxprune
for module in pkgutil.walk_packages(onnxprune.__path__, "onnxprune."):
    if not module.name.endswith("__main__") and not module.name.startswith("onnxprune.finetune."):
        importlib.import_module(module.name)
print(sorted(sys.modules))
"""


@pytest.mark.parametrize(
    ("code", "proof"),
    [
        ("import sys, onnxprune; onnxprune.prune; print(sorted(sys.modules))", "onnxprune.pipeline.prune"),
        ("import sys, onnxprune.cli; print(sorted(sys.modules))", "onnxprune.cli"),
        (IMPORT_ALL, "onnxprune.importance.entropy"),
    ],
    ids=["api", "cli", "all modules"],
)
def test_importing_needs_no_torch(code: str, proof: str) -> None:
    found = run(sys.executable, "-c", code)
    assert found.returncode == 0, found.stderr
    modules = found.stdout
    assert f"'{proof}'" in modules
    for absent in ("torch", "kornia", "sklearn", "matplotlib"):
        assert f"'{absent}'" not in modules
