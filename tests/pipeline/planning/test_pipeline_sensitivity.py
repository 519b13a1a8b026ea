"""Widths by the measured change of the outputs: what is measured, what is kept of it, and what it is good for."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import CALIB, CONVNET, RESNET

import onnxprune
from onnxprune.analysis.analysis import Analysis
from onnxprune.data import Dataset
from onnxprune.evaluation import drift
from onnxprune.graph.storage import cache as kept
from onnxprune.graph.storage.cache import cache_folder, read_cache
from onnxprune.pipeline.planning import sensitivity
from onnxprune.pipeline.planning.plans import plan_of_masks
from onnxprune.pipeline.planning.sensitivity import measure, with_sensitivity
from onnxprune.runtime import open_session
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.statistics import Scores

Parts = tuple[onnxprune.Model, Analysis, Dataset, Scores]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def parts() -> Parts:
    model = onnxprune.load(CONVNET)
    analysis = onnxprune.inspect(model)
    data = onnxprune.open_data(CALIB, model.graph.input_specs, Preprocess()).subset(np.arange(0, 300, 10))
    scores = onnxprune.score(analysis, onnxprune.collect(analysis, None, "l1"), "l1")
    return model, analysis, data, scores


def test_a_group_is_measured_with_all_others_whole(parts: Parts) -> None:
    model, analysis, data, scores = parts
    found = measure(scores, analysis, data)
    assert set(found) == {group.name for group in analysis.prunable}
    group = analysis.prunable[-1]
    count = next(iter(found[group.name]))
    best = np.argsort(-scores.values[group.name], kind="stable")[:count]
    keep = {group.name: np.isin(np.arange(group.size), best)}
    plan = plan_of_masks(model, analysis, keep, "l1", {})
    cut, _ = onnxprune.apply(model, analysis, plan)
    alone = drift(open_session(model.proto, model.weights), open_session(cut.model, cut.weights), data).worst
    assert found[group.name][count] == pytest.approx(alone, rel=1e-6)
    assert all(changes[min(changes)] > 0 for changes in found.values())


def test_a_second_run_has_it_at_once_and_another_one_measures_anew(
    parts: Parts, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, analysis, data, scores = parts
    first = with_sensitivity(scores, analysis, data, {"method": "l1"})
    (file,) = cache.iterdir()
    calls: list[Any] = []
    monkeypatch.setattr(sensitivity, "measure", counting(calls, measure))
    again = with_sensitivity(scores, analysis, data, {"method": "l1"})
    assert not calls
    assert all(np.array_equal(again.curves[name], curve) for name, curve in first.curves.items())
    with_sensitivity(scores, analysis, data, {"method": "l2"})
    with_sensitivity(scores, analysis, data.subset(np.arange(20)), {"method": "l1"})
    assert len(calls) == 2
    file.write_text("{ cut off")
    with_sensitivity(scores, analysis, data, {"method": "l1"})
    assert len(calls) == 3
    assert json.loads(file.read_text())["key"]["ranked_by"] == {"method": "l1"}


def counting(calls: list[Any], function: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    return counted


def test_groups_that_were_not_open_before_are_measured(parts: Parts, cache: Path) -> None:
    _, analysis, data, scores = parts
    first, *others = analysis.groups
    fewer = replace(analysis, groups=tuple(others))
    assert first.name not in with_sensitivity(scores, fewer, data, {}).curves
    assert first.name in with_sensitivity(scores, analysis, data, {}).curves
    assert len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, analysis, data, scores = parts
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path / "file"))
    assert with_sensitivity(scores, analysis, data, {}).curves
    assert read_cache("sensitivity", {}) is None
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(kept, "cache_file", lambda what, key: tmp_path / "other" / "taken.json")
    (tmp_path / "other" / "taken.json").mkdir(parents=True)
    assert with_sensitivity(scores, analysis, data, {}).curves


def test_the_cache_is_the_systems_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONNXPRUNE_CACHE")
    assert cache_folder().name == "onnxprune"


def test_a_group_that_matters_more_keeps_more(tmp_path: Path) -> None:
    """At the same budget the outputs move less than with the same share of every group."""
    drifts = {}
    for policy in ("sensitivity", "uniform"):
        result = onnxprune.prune(
            RESNET, CALIB, "l1", macs=0.5, round_to=1, policy=policy, recovery="none", force=True,
            output=tmp_path / f"{policy}.onnx", preprocess="unit", check_accuracy=False,
        )  # fmt: skip
        assert result.after is not None
        assert result.after.macs <= 0.5 * result.before.macs
        assert result.quality is not None
        assert result.quality.drift is not None
        drifts[policy] = max(result.quality.drift.values())
    assert drifts["sensitivity"] < drifts["uniform"]
