"""The public functions: each parameter is documented, and what an example says is so."""

import doctest
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import onnxprune
from onnxprune.errors import InputError
from onnxprune.pipeline.planning import plans

FUNCTIONS = [name for name in onnxprune.__all__ if inspect.isfunction(getattr(onnxprune, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_parameter_is_documented(name: str) -> None:
    function = getattr(onnxprune, name)
    parameters = inspect.signature(function).parameters
    documented = re.findall(r"^ {4,8}(\w+): ", inspect.getdoc(function) or "", flags=re.MULTILINE)
    if len(parameters) >= 3:
        assert set(parameters) <= set(documented)


def test_what_is_public_is_listed_before_it_is_imported() -> None:
    text = "import onnxprune, sys; print(*dir(onnxprune)); print('onnx' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    listed, imported = ran.stdout.splitlines()
    assert set(onnxprune.__all__) <= set(listed.split())
    assert imported == "False"
    assert all(getattr(onnxprune, name).__doc__ for name in onnxprune.__all__ if name != "__version__")


def test_what_a_prompt_shows_is_short() -> None:
    root = Path(__file__).parents[1] / "sample_models"
    model = onnxprune.load(root / "digits_convnet.onnx")
    analysis = onnxprune.inspect(model)
    data = onnxprune.open_data(root / "calib", model.graph.input_specs, onnxprune.Preprocess())
    statistics = onnxprune.collect(analysis, data, "l1")
    scores = onnxprune.score(analysis, statistics, "l1")
    plan = onnxprune.plan(model, analysis, scores, onnxprune.Budget(macs=0.5), "l1")
    cut, plan = onnxprune.apply(model, analysis, plan)
    result = onnxprune.prune(model.path, root / "calib", "l1", macs=0.5, output=os.devnull, preprocess="unit")
    beside = onnxprune.compare(model.path, other=model.path, data=root / "calib", preprocess="unit")
    values = (model, model.graph, analysis, analysis.groups[0], data, statistics, scores, plan, cut, result, beside)
    for value in values:
        text = repr(value)
        assert text.startswith(f"{type(value).__name__}(")
        assert len(text) < 1000
        assert text.count("\n") < 10
    assert "values=4 entries" in repr(scores)
    assert f"path={model.path}" in repr(model)
    assert "rows=array of int64 [300]" in repr(data)


def test_the_example_of_a_plan_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    found = doctest.DocTestFinder().find(plans.plan)
    ran = [doctest.DocTestRunner().run(test) for test in found]
    assert sum(each.attempted for each in ran) == 6
    assert not any(each.failed for each in ran)


def test_a_stage_that_fails_speaks_of_keywords() -> None:
    analysis = onnxprune.inspect(onnxprune.load(Path(__file__).parents[1] / "sample_models" / "digits_convnet.onnx"))
    with pytest.raises(InputError, match="data="):
        onnxprune.collect(analysis, None, "entropy")


def test_a_saved_cut_does_not_overwrite_the_data_files_of_the_original(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    source = Path(__file__).parents[1] / "sample_models" / "digits_convnet.onnx"
    onnx.save(onnx.load(source), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = (tmp_path / "weights.bin").read_bytes()
    model = onnxprune.load(path)
    analysis = onnxprune.inspect(model)
    scores = onnxprune.score(analysis, onnxprune.collect(analysis, None, "l1"), "l1")
    cut, _ = onnxprune.apply(model, analysis, onnxprune.plan(model, analysis, scores, onnxprune.Budget(macs=0.5), "l1"))
    with pytest.raises(InputError, match=r"data file 'weights\.bin'"):
        onnxprune.save(cut, tmp_path / "weights.bin")
    assert (tmp_path / "weights.bin").read_bytes() == before
