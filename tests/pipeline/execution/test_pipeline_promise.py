"""What a result promises: held, careful or missed; what is refused, and what is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import CALIB, CONVNET, TEST
from refusals import refused

import onnxprune
from onnxprune.pipeline.apply import apply_plan
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.execution.promise import words
from onnxprune.pipeline.planning.search import Passed, Tried
from onnxprune.values.outcome import Quality
from onnxprune.values.plan import read_plan
from onnxprune.values.promise import Promise

CAREFUL = Promise("careful", {"max_drop": 0.01}, {"max_drop": 0.02}, 0.95, 200, 900)


def prune(output: Path, model: Path = CONVNET, data: Path = CALIB, **more: Any) -> onnxprune.Result:
    options = {"preprocess": "unit", "method": "l1", "recovery": "none", **more}
    return onnxprune.prune(model, data, output=output, **options)


@pytest.mark.parametrize(
    ("promise", "said"),
    [
        (
            CAREFUL,
            "careful: 200 held-out images do not show at 95 % that the limit holds (top-1 lost at most 2.0 points, the "
            "limit is 1 point); about 900 held-out images would do.",
        ),
        (
            Promise("careful", {"max_drift": 0.1}, {"max_drift": np.inf}, 0.9, 1),
            "careful: 1 held-out image does not show at 90 % that the limit holds (the outputs changed by: too few "
            "samples to say).",
        ),
        (
            Promise("careful", {"max_drop": 0.01}, {"max_drop": 0.009}, 0.95, 900),
            "careful: 900 held-out images do not show at 95 % that the limit holds (milder plans were not shown to).",
        ),
        (
            replace(CAREFUL, state="missed"),
            "missed: on these 200 images the result loses 5.0 points of top-1, where --max-drop allows 1.",
        ),
        (replace(CAREFUL, state="held"), None),
    ],
)
def test_words(promise: Promise, said: str | None) -> None:
    assert words(promise, Quality("d", 200, change=-0.05, change_interval=(-0.09, -0.01))) == said


def test_a_plan_that_was_taken_after_another_had_failed_is_careful_whatever_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxprune.pipeline.planning.search._shown_to_hold", lambda *args: None)
    result = prune(tmp_path / "a.onnx", max_drop=0.2)
    assert result.promise is not None
    assert result.promise.bounds["max_drop"] <= 0.2
    assert result.promise.state == "careful"
    with refused("loss-too-high", "milder plans were not shown to"):
        prune(tmp_path / "b.onnx", max_drop=0.2, require_confidence=True)


def test_what_is_made_of_a_plan_is_asked_at_the_part_of_the_error_that_the_plan_passed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "onnxprune.pipeline.planning.search.cheapest_shown", lambda made, _: Passed(max(made, key=_macs), 0.2)
    )
    found = prune(tmp_path / "a.onnx", max_drop=0.2, quantize="int8")
    plan = onnxprune.load_plan(tmp_path / "a.plan.json")

    def applied(confidence: float) -> onnxprune.Result:
        output = tmp_path / f"{confidence}.onnx"
        more: dict[str, Any] = {"preprocess": "unit", "quantize": "int8", "confidence": confidence}
        return apply_plan(PruneConfig(CONVNET, data=CALIB, output=output, **more), plan)

    ours, surer, usual = _bounds(found), _bounds(applied(0.99)), _bounds(applied(0.95))
    assert ours == pytest.approx(surer)
    assert min(ours) > max(usual)
    assert found.promise is not None
    assert found.promise.bounds["max_drop"] == max(ours)


def _macs(tried: Tried) -> float:
    return tried.trial.macs


def _bounds(result: onnxprune.Result) -> list[float]:
    """Return the most that the pruned and the quantized model lost."""
    assert result.quality is not None
    assert result.quantized is not None
    return [quality.bounds["max_drop"] for quality in (result.quality, result.quantized.quality)]


def test_a_dry_run_promises_what_the_plan_was_shown_to_hold(tmp_path: Path) -> None:
    held = prune(tmp_path / "a.onnx", max_drop=0.2, dry_run=True)
    assert held.promise is not None
    assert held.promise.state == "held"
    assert read_plan((tmp_path / "a.plan.json").read_text(), "a").promise == held.promise.to_json()
    careful = prune(tmp_path / "b.onnx", dry_run=True)
    assert careful.promise is not None
    assert careful.warnings[0].startswith("careful: 60 held-out images do not show")
    with refused("loss-too-high", "do not show"):
        prune(tmp_path / "c.onnx", dry_run=True, require_confidence=True)
    assert not (tmp_path / "c.plan.json").exists()


def test_where_a_plan_that_is_applied_misses_its_limit_that_is_said(tmp_path: Path) -> None:
    prune(tmp_path / "a.onnx", macs=0.05, method="random", dry_run=True)
    found = onnxprune.load_plan(tmp_path / "a.plan.json")
    plan = replace(found, request={**found.request, "max_drop": 0.02})
    config = PruneConfig(CONVNET, data=CALIB, test=TEST, output=tmp_path / "r.onnx", preprocess="unit")
    again = apply_plan(config, plan)
    assert again.promise is not None
    assert again.promise.state == "missed"
    assert again.warnings[0].startswith("missed: on these 450 images the result loses ")
    assert json.loads(json.dumps(again.to_json()))["promise"]["state"] == "missed"


def test_confidence_needs_a_limit_to_be_sure_of(tmp_path: Path) -> None:
    with refused("conflicting-options", "require_confidence="):
        prune(tmp_path / "a.onnx", macs=0.5, require_confidence=True)
    with refused("bad-value", "confidence="):
        prune(tmp_path / "a.onnx", confidence=0.3)
    prune(tmp_path / "a.onnx", max_drop=0.2, require_confidence=True, confidence=0.9)


def test_what_test_data_visibly_lose_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.pipeline.planning.search.SERVES", 0.05)  # a search that takes what it should not
    careful = "onnxprune.pipeline.planning.search.LossLimits.visibly_missed"
    with monkeypatch.context() as patch:
        patch.setattr(careful, lambda self, quality: quality.samples > 60 and not self.holds(quality))
        patch.setattr("onnxprune.pipeline.planning.search.Tried.foreseen_to_miss", lambda self, limits: False)
        with refused("loss-too-high", "The final result loses", "on 450 images that it was not chosen by"):
            prune(tmp_path / "a.onnx", method="random", test=TEST)
    assert not (tmp_path / "a.onnx").exists()
