"""The public functions: each parameter is documented, and what an example says is so."""

import doctest
import inspect
import re
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
