"""Plans chosen by what they lose: the default, limits beside budgets, what the search may see, and the curve."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any
from unittest import mock

import numpy as np
import pytest
from attrs import evolve
from folders import names
from places import CALIB, CONVNET, RESNET, TEST
from refusals import refused

import onnxprune
from onnxprune.data import Dataset
from onnxprune.errors import Code, UnreachableError
from onnxprune.evaluation import Drift, PairedChange
from onnxprune.pipeline import evaluator as measuring
from onnxprune.pipeline.apply import apply_plan as replay
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.opening import open_run
from onnxprune.pipeline.planning import make as making
from onnxprune.pipeline.planning.search import (
    ALONE,
    BETWEEN,
    GRID,
    MILDER,
    SERVES,
    SHARES,
    Found,
    Trials,
    Tried,
    cheapest_shown,
    find_plan,
)
from onnxprune.pipeline.planning.steps import Chosen, choose_in_steps, scored
from onnxprune.pipeline.prune import prune as run
from onnxprune.pipeline.stages import judge
from onnxprune.recovery.run import recover_steps
from onnxprune.selection.goal import Goal
from onnxprune.selection.loss_limits import LossLimits
from onnxprune.selection.search import MOST
from onnxprune.values.accuracy import Accuracy
from onnxprune.values.outcome import Quality
from onnxprune.values.plan import read_plan
from onnxprune.values.preprocess import PRESETS
from onnxprune.values.trials import COLUMNS, Search, Trial


def prune(output: Path, model: Path = CONVNET, data: Path | None = CALIB, **more: Any) -> onnxprune.Result:
    """Prune by a cheap method without recovery, unless told otherwise."""
    options = {"preprocess": "unit" if data else None, "method": "l1", "recovery": "none", **more}
    return onnxprune.prune(model, data, output=output, **options)


def searched(result: onnxprune.Result) -> tuple[Search, Trial]:
    assert result.search is not None
    assert result.search.chosen is not None
    return result.search, result.search.chosen


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """Images of digits whose labels nobody knows."""
    data = onnxprune.open_data(CALIB, onnxprune.load(CONVNET).graph.input_specs, PRESETS["unit"])
    found = np.concatenate([next(iter(batch.feeds.values())) for batch in data.batches(64)])
    np.savez(tmp_path / "x.npz", x=found)
    return tmp_path / "x.npz"


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """As many images as can show that a point is not lost, half of them held out."""
    specs = onnxprune.load(CONVNET).graph.input_specs
    parts = [onnxprune.open_data(folder, specs, PRESETS["unit"]) for folder in (CALIB, TEST)]
    batches = [batch for part in parts for batch in part.batches(64)]
    x = np.concatenate([next(iter(batch.feeds.values())) for batch in batches])
    np.savez(tmp_path / "many.npz", x=x, y=np.concatenate([batch.labels for batch in batches]))
    return tmp_path / "many.npz"


@pytest.mark.parametrize("model", [RESNET, CONVNET])
def test_few_images_lead_to_a_careful_result(tmp_path: Path, model: Path) -> None:
    result = prune(tmp_path / "a.onnx", model)
    search, chosen = searched(result)
    assert result.plan.request == {"max_drop": 0.01, "round_to": 8}
    assert result.promise is not None
    assert (result.promise.state, result.promise.samples) == ("careful", 60)
    assert result.promise.bounds["max_drop"] > 0.01
    assert result.promise.enough is not None
    assert result.promise.enough >= 299
    assert result.warnings[0].startswith("careful: 60 held-out images do not show at 95 % that the limit holds")
    assert result.plan.promise == result.promise.to_json() == result.to_json()["promise"]
    assert read_plan((tmp_path / "a.plan.json").read_text(), "a").promise == result.promise.to_json()
    assert SERVES - 0.3 < chosen.macs <= 1
    assert len(search.trials) <= 1 + len(MILDER), "none is searched for where nothing can be shown"
    assert names(tmp_path) == ["a.onnx", "a.plan.json"]
    assert json.loads(json.dumps(result.to_json()))["search"]["trials"][0]["samples"] == 60


@pytest.mark.parametrize("model", [RESNET, CONVNET])
def test_enough_images_show_that_the_limit_holds(tmp_path: Path, many: Path, model: Path) -> None:
    result = prune(tmp_path / "a.onnx", model, many, preprocess=None, max_drop=0.02, recovery="fold")
    search, chosen = searched(result)
    assert result.promise is not None
    assert result.promise.state == "held"
    assert result.promise.samples == 377
    assert result.quality is not None
    assert -(result.quality.change or 0.0) <= result.promise.bounds["max_drop"] <= 0.02
    assert chosen.quality.bounds == result.quality.bounds
    milder = [trial for trial in search.trials if trial.macs > chosen.macs]
    assert all(trial.holds for trial in milder), "none is asked behind one that was not shown to hold"
    below = [trial for trial in search.trials if trial.macs < chosen.macs]
    assert not below or not max(below, key=lambda trial: trial.macs).holds
    assert len({trial.macs for trial in search.trials}) == len(search.trials), "no plan is tried twice"
    assert len(search.trials) <= MOST + len(BETWEEN)
    assert not any(said.startswith("careful") for said in result.warnings)


def test_what_is_held_out_has_no_say_in_which_plans_are_tried(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: dict[str, Any] = {"data": many, "preprocess": None, "max_drop": 0.02, "dry_run": True}
    search, _ = searched(prune(tmp_path / "a.onnx", **more))
    monkeypatch.setattr(LossLimits, "shown", lambda *args: True)
    other, taken = searched(prune(tmp_path / "b.onnx", **more))
    assert [trial.macs for trial in other.trials] == [trial.macs for trial in search.trials]
    assert taken.macs == min(trial.macs for trial in other.trials)


def test_scores_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def noted(*args: Any, **more: Any) -> Any:
        calls.append(args)
        return scored(*args, **more)

    monkeypatch.setattr(making, "scored", noted)
    monkeypatch.setattr("onnxprune.pipeline.planning.steps.scored", lambda *args, **more: pytest.fail("scored again"))
    prune(tmp_path / "a.onnx", max_drop=0.02)
    assert len(calls) == 1


def test_budgets_that_lose_too_much_are_refused_with_what_would_not(tmp_path: Path, many: Path) -> None:
    with pytest.raises(UnreachableError) as refusal:
        prune(tmp_path / "a.onnx", RESNET, many, preprocess=None, macs=0.03, max_drop=0.05)
    found = re.match(
        r"The plan at these budgets, with (\d\.\d) % of the MACs left, loses (\d+\.\d) points of top-1, where "
        r"max_drop= allows 5 \(on 377 held-out images\), so nothing was written; "
        r"the fewest at which that holds are (\d+\.\d) %, "
        r"with \d+\.\d % of the parameters: ask for macs=(\d+(?:\.\d+)?)%, or allow more\.$",
        str(refusal.value),
    )
    assert found is not None, str(refusal.value)
    least, lost, holds, asked = map(float, found.groups())
    assert least <= 3
    assert lost > 5
    assert 3 < holds <= asked + 0.05
    assert names(tmp_path) == ["many.npz"]
    result = prune(tmp_path / "a.onnx", RESNET, many, preprocess=None, macs=asked / 100, max_drop=0.05)
    assert 100 * result.plan.reached["macs"] == pytest.approx(holds, abs=0.05)
    assert result.promise is not None
    assert result.promise.state == "held"


def test_budgets_that_hold_the_limit_stand_as_they_are(tmp_path: Path) -> None:
    result = prune(tmp_path / "a.onnx", macs=0.6, params=0.7, max_drop=0.02)
    plain = prune(tmp_path / "b.onnx", macs=0.6, params=0.7)
    assert result.plan.request == {"macs": 0.6, "params": 0.7, "round_to": 8, "max_drop": 0.02}
    assert result.plan.groups == plain.plan.groups
    search, chosen = searched(result)
    assert len(search.trials) == 1
    assert chosen.asked is None
    assert result.promise is not None
    assert result.promise.state == ("held" if chosen.holds else "careful")


def test_the_own_rule_is_asked_for_by_alpha(tmp_path: Path) -> None:
    result = prune(tmp_path / "a.onnx", method="entropy", alpha=1.0)
    assert result.search is None
    assert {group.kept / group.size for group in result.plan.groups.values()} == {0.25}
    held = prune(tmp_path / "b.onnx", method="entropy", alpha=1.0, max_drop=0.01)
    assert held.plan.groups == result.plan.groups
    assert len(searched(held)[0].trials) == 1


def test_a_limit_on_classes_is_held_in_the_search(tmp_path: Path) -> None:
    _, free = searched(prune(tmp_path / "a.onnx", RESNET, max_drop=0.15))
    _, held = searched(prune(tmp_path / "b.onnx", RESNET, max_drop=0.15, max_class_drop=0.2))
    assert free.quality.classes[0].drop > 0.2 >= held.quality.classes[0].drop
    assert held.macs > free.macs


def test_where_even_the_mildest_cut_loses_too_much_nothing_is_contents(tmp_path: Path) -> None:
    with refused("loss-too-high", "mildest cut", "max_drift= allows 0 %"):
        prune(tmp_path / "a.onnx", method="random", max_drift=0.0, force=True)
    assert names(tmp_path) == []


def test_where_nothing_may_go_that_is_said(tmp_path: Path) -> None:
    whole = onnxprune.Steering(keep=("*",))
    with refused("nothing-to-prune", "multiply-adds"):
        prune(tmp_path / "a.onnx", steering=whole)


def test_without_labels_the_outputs_may_change_by_a_tenth(tmp_path: Path, unlabelled: Path) -> None:
    result = prune(tmp_path / "a.onnx", data=unlabelled, preprocess=None)
    search, chosen = searched(result)
    assert result.plan.request == {"max_drift": 0.1, "round_to": 8}
    assert result.quality is not None
    assert result.quality.moved == chosen.quality.moved
    assert 0 < (chosen.quality.moved or 0) <= 0.1
    assert any(trial.quality.moved is not None and trial.quality.moved > 0.1 for trial in search.trials)
    blind = prune(tmp_path / "b.onnx", check_accuracy=False)
    assert blind.plan.request["max_drift"] == 0.1


def test_drift_holds_beside_top1_where_there_are_labels(tmp_path: Path) -> None:
    _, loose = searched(prune(tmp_path / "a.onnx", RESNET, max_drop=0.1))
    result = prune(tmp_path / "b.onnx", RESNET, max_drop=0.1, max_drift=0.05)
    _, both = searched(result)
    assert result.quality is not None
    assert result.quality.moved is not None
    assert result.quality.moved <= result.quality.bounds["max_drift"] <= 0.05
    assert both.macs > loose.macs
    assert result.quality.moved == both.quality.moved


def test_the_search_never_sees_the_test_data(tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch of it is read while plans are tried, and other test data give the same bytes."""
    searching: list[Dataset] = []
    read: list[Dataset] = []
    batches = Dataset.batches

    def watched(*args: Any) -> Any:
        samples = args[0].calibration_samples
        assert samples.held is not None
        assert samples.test is samples.measured
        searching.append(samples.measured)
        try:
            return find_plan(*args)
        finally:
            searching.clear()

    def noted(self: Dataset, *args: Any, **more: Any) -> Iterator[Any]:
        if searching:
            read.append(self)
            assert self.reader is not searching[0].reader
        return batches(self, *args, **more)

    monkeypatch.setattr(making, "find_plan", watched)
    monkeypatch.setattr(Dataset, "batches", noted)
    for number in range(2):
        (tmp_path / f"{number}").mkdir()
    results = [
        prune(tmp_path / f"{number}" / "a.onnx", data=few, test=test, recovery="fold", max_drop=0.05)
        for number, test in enumerate((TEST, CALIB))
    ]
    assert len(read) > 5
    first, second = (result.output for result in results)
    assert first is not None
    assert second is not None
    assert first.read_bytes() == second.read_bytes()
    assert [result.quality.samples for result in results if result.quality] == [450, 300]
    assert results[0].to_json()["search"] == results[1].to_json()["search"]
    # `apply` splits the data in the same way
    again = replay(
        PruneConfig(CONVNET, data=few, test=TEST, output=tmp_path / "r.onnx", preprocess="unit"), results[0].plan
    )
    assert (tmp_path / "r.onnx").read_bytes() == first.read_bytes()
    assert not any("other data" in note for note in again.notes)


def accuracy(*right: int, total: int = 10) -> Accuracy:
    return Accuracy(sum(right), total * len(right), right, (total,) * len(right))


def test_every_limit_counts_and_is_named() -> None:
    found = Quality("d", 20, accuracy(10, 9), accuracy(10, 6), -0.15, (-0.3, 0.0), ("cat", "dog"), moved=0.5)
    guard = LossLimits({"max_drop": 0.15, "max_drift": 0.5, "max_class_drop": 0.3})
    assert guard.holds(found)
    assert guard.missed(found) == ""
    strict = LossLimits({"max_drop": 0.1, "max_drift": 0.25, "max_class_drop": 0.0}, by_default=True)
    assert strict.excess(found) == pytest.approx(30)
    assert strict.missed(found) == (
        "loses 15.0 points of top-1, where --max-drop by default allows 10 and changes an output by 50.0 %, where "
        "--max-drift by default allows 25 % and loses 30.0 points of class 'dog', where --max-class-drop allows 0"
    )
    assert LossLimits({"max_drift": 0.5}).excess(Quality("d", 20)) == np.inf


def test_a_class_that_is_gone_is_no_default() -> None:
    gone = Quality("d", 40, accuracy(10, 10, 10, 3), accuracy(10, 10, 10, 0), -0.01, (-0.02, 0.0), tuple("abcd"))
    assert not LossLimits({"max_drop": 0.1}, refuses_collapse=True).holds(gone)
    assert "No image of d is classified right" in LossLimits({"max_drop": 0.1}, refuses_collapse=True).missed(gone)
    assert LossLimits({"max_drop": 0.1}).holds(gone)
    chance = Quality("d", 40, accuracy(10, 10, 10, 2), accuracy(10, 10, 10, 0), -0.01, (-0.02, 0.0), tuple("abcd"))
    assert LossLimits({"max_drop": 0.1}, refuses_collapse=True).holds(chance), "two images are no class"


def test_how_many_images_it_would_take_is_said() -> None:
    few = Quality("d", 100, change=0.0, change_interval=(-0.03, 0.03), bounds={"max_drop": 0.028})
    guard = LossLimits({"max_drop": 0.01})
    assert not guard.can_be_shown(298, 0.95)
    assert guard.can_be_shown(299, 0.95)
    assert guard.enough(few, 0.95) == 640
    assert guard.enough(Quality("d", 100, change=0.0, change_interval=(0.0, 0.0)), 0.95) == 300
    assert guard.enough(Quality("d", 100, change=-0.01, change_interval=(-0.03, 0.01)), 0.95) is None
    assert LossLimits({"max_drift": 0.03}).enough(few, 0.95) is None
    assert LossLimits({"max_drop": 0.0}).enough(few, 0.95) is None
    assert not LossLimits({"max_drop": 0.0}).can_be_shown(10**9, 0.95)
    assert not LossLimits({"max_drift": 0.1}).can_be_shown(29, 0.95)
    assert LossLimits({"max_drift": 0.1}).can_be_shown(30, 0.95)
    none = Quality("d", 60, change=0.0, change_interval=PairedChange(0, 0, 60).interval)
    assert guard.enough(none, 0.95) == 300
    by_class = LossLimits({"max_drop": 0.01, "max_class_drop": 0.05})
    assert by_class.enough(replace(few, bounds={"max_class_drop": 0.1}), 0.95) is None, "more is missing"


def test_one_image_of_sixty_is_no_visible_loss() -> None:
    guard = LossLimits({"max_drop": 0.01})
    one = Quality("d", 60, change=-1 / 60, change_interval=(-0.06, 0.03))
    assert not guard.holds(one)
    assert not guard.visibly_missed(one)
    assert guard.visibly_missed(Quality("d", 60, change=-0.1, change_interval=(-0.18, -0.02)))
    assert LossLimits({"max_drift": 0.1}).visibly_missed(Quality("d", 60, moved=0.2))


def test_a_dry_run_searches_and_writes_the_plan(tmp_path: Path) -> None:
    result = prune(tmp_path / "a.onnx", max_drop=0.02, dry_run=True)
    whole = prune(tmp_path / "b.onnx", max_drop=0.02)
    assert names(tmp_path) == ["a.plan.json", "b.onnx", "b.plan.json"]
    assert result.plan.groups == whole.plan.groups
    assert searched(result)[0].to_json() == searched(whole)[0].to_json()


def test_it_goes_with_steps_steering_scores_and_a_trimmed_head(tmp_path: Path, few: Path) -> None:
    stepped = prune(tmp_path / "a.onnx", data=few, max_drop=0.05, steps=2)
    assert any(note.startswith("Chosen in 2 of 2 steps") for note in stepped.notes)
    searched(stepped)
    steering = onnxprune.Steering(ratios=(("conv1", 0.5),))
    steered = prune(tmp_path / "b.onnx", max_drop=0.05, steering=steering)
    assert {g.kept / g.size for name, g in steered.plan.groups.items() if "conv1" in name} == {0.5}
    plain = prune(tmp_path / "c.onnx", max_drop=0.05, save_scores=tmp_path / "s.npz")
    again = prune(tmp_path / "d.onnx", max_drop=0.05, scores=tmp_path / "s.npz")
    assert again.plan.groups == plain.plan.groups
    trimmed = prune(tmp_path / "e.onnx", classes=("1", "4", "7"), trim_head=True, max_drop=0.1)
    assert trimmed.plan.request["max_drop"] == 0.1
    assert searched(trimmed)[1].macs < 0.5


def test_keep_masks_leave_nothing_to_be_chosen(tmp_path: Path) -> None:
    keep = {group.name: np.arange(group.size) > 3 for group in onnxprune.inspect(onnxprune.load(CONVNET)).prunable}
    arrays: dict[str, Any] = {f"keep:{name}": mask for name, mask in keep.items()}
    np.savez(tmp_path / "m.npz", **arrays)
    assert prune(tmp_path / "a.onnx", scores=tmp_path / "m.npz").search is None
    limits: tuple[dict[str, Any], ...] = ({"max_drop": 0.01}, {"max_drift": 0.1})
    for more in limits:
        with refused("conflicting-options", "m.npz", "budget"):
            prune(tmp_path / "b.onnx", scores=tmp_path / "m.npz", **more)
    with refused("conflicting-options", "m.npz", "curve"):
        prune(tmp_path / "b.onnx", scores=tmp_path / "m.npz", pareto=tmp_path / "c")


def test_without_data_the_own_rule_or_a_budget_decides(tmp_path: Path) -> None:
    with refused("missing-option", "l1"):
        prune(tmp_path / "a.onnx", data=None)


@pytest.mark.parametrize(
    ("more", "code", "thing"),
    [
        ({"max_drop": 1.5}, "bad-value", "max_drop=1.5"),
        ({"max_drift": -0.1}, "bad-value", "max_drift=-0.1"),
        (
            {"max_drop": 0.01, "check_accuracy": False},
            "no-labels",
            "check_accuracy=False",
        ),
        ({"max_drop": 0.01, "data": None}, "no-labels", "max_drop="),
        ({"max_drift": 0.01, "data": None}, "no-data", "max_drift="),
        ({"pareto": Path("/nowhere/c"), "macs": 0.5}, "not-writable", "/nowhere/c.csv"),
        ({"pareto": "c", "macs": 0.5, "data": None}, "no-data", "pareto="),
        ({"max_drop": 0.01, "recovery": "magic"}, "bad-value", "recovery='magic'"),
    ],
)
def test_bad_requests_are_refused_before_any_plan_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], code: Code, thing: str
) -> None:
    monkeypatch.setattr(Trials, "of", lambda *args: pytest.fail("a plan was tried"))
    monkeypatch.chdir(tmp_path)
    with refused(code, thing):
        prune(tmp_path / "a.onnx", **more)
    assert names(tmp_path) == []


def test_data_with_nothing_to_hold_out_are_told_from_test_data(tmp_path: Path) -> None:
    data = onnxprune.open_data(CALIB, onnxprune.load(CONVNET).graph.input_specs, PRESETS["unit"])
    x = np.concatenate([next(iter(batch.feeds.values())) for batch in data.batches(64)])
    np.savez(tmp_path / "one.npz", x=x[:1], y=np.zeros(1, dtype=np.int64))
    more: dict[str, Any] = {"data": tmp_path / "one.npz", "test": TEST, "preprocess": None}
    with refused("too-few-samples", "one.npz"):
        prune(tmp_path / "a.onnx", check_accuracy=False, **more)
    prune(tmp_path / "a.onnx", check_accuracy=False, macs=0.5, **more)
    with refused("bad-value", "holdout="):
        prune(tmp_path / "a.onnx", check_accuracy=False, holdout=1.0, **more)


def test_outputs_that_cannot_be_compared_hold_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skipped = {"boxes": "its shape differs between the models"}
    monkeypatch.setattr(measuring, "drift", lambda *args, **more: Drift({}, {}, {}, skipped))
    with refused("wrong-outputs", "'boxes': its shape differs", "macs=50%"):
        prune(tmp_path / "a.onnx", max_drift=0.1)
    assert names(tmp_path) == []


def test_integer_outputs_count_by_the_share_that_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = np.tile([3.0, 10.0], (60, 1))
    monkeypatch.setattr(measuring, "drift", lambda *args, **more: Drift({}, {"class": 0.7}, {}, {}, {"class": parts}))
    with refused("loss-too-high", "mildest cut", "30.0 %"):
        prune(tmp_path / "a.onnx", max_drift=0.25)


def test_a_search_writes_its_curve(tmp_path: Path) -> None:
    result = prune(tmp_path / "a.onnx", max_drop=0.02, pareto=tmp_path / "curve")
    assert names(tmp_path) == ["a.onnx", "a.plan.json", "curve.csv", "curve.json", "curve.svg"]
    plain = prune(tmp_path / "b.onnx", max_drop=0.02)
    assert plain.plan.groups == result.plan.groups, "the curve has no say in it"
    search, chosen = searched(result)
    assert len(searched(plain)[0].trials) < len(search.trials) <= MOST + GRID + len(BETWEEN)
    with (tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == len(search.trials)
    macs = [float(row["macs"]) for row in rows]
    assert macs == sorted(macs)
    assert macs[-1] > 0.85
    (taken,) = [row for row in rows if row["chosen"] == "True"]
    assert float(taken["macs"]) == chosen.macs
    assert float(taken["top1_low"]) < float(taken["top1"]) <= float(taken["top1_high"]) + 1e-9
    assert float(taken["change_low"]) <= float(taken["change"]) <= float(taken["change_high"])
    assert result.after is not None
    assert float(taken["params"]) == pytest.approx(result.after.params / result.before.params)
    assert float(taken["size"]) == pytest.approx(result.after.size / result.before.size, abs=0.01)
    found = json.loads((tmp_path / "curve.json").read_text())
    assert found["limits"] == {"max_drop": 0.02}
    assert [row["macs"] for row in found["trials"]] == macs
    drawn = (tmp_path / "curve.svg").read_text()
    assert 'id="chosen"' in drawn
    assert "top-1 (%), 95 % interval" in drawn
    assert result.to_json()["curve"]["svg"] == str(tmp_path / "curve.svg")


def test_a_budget_writes_its_curve_without_labels_too(tmp_path: Path, unlabelled: Path) -> None:
    result = prune(tmp_path / "a.onnx", data=unlabelled, preprocess=None, macs=0.4, pareto=tmp_path / "curve.v1")
    search, chosen = searched(result)
    assert search.limits == {}
    assert chosen.holds is None
    assert chosen.macs == pytest.approx(result.plan.reached["macs"])
    assert "change of the outputs (%)" in (tmp_path / "curve.v1.svg").read_text()
    again = prune(tmp_path / "b.onnx", data=unlabelled, preprocess=None, macs=0.4, pareto=tmp_path / "again")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "curve.v1.svg").read_bytes()
    assert again.plan.groups == prune(tmp_path / "c.onnx", data=unlabelled, preprocess=None, macs=0.4).plan.groups


def test_a_refused_run_writes_no_curve(tmp_path: Path) -> None:
    with refused("loss-too-high"):
        prune(tmp_path / "a.onnx", RESNET, macs=0.03, max_drop=0.01, pareto=tmp_path / "curve")
    assert names(tmp_path) == []


def test_a_curve_is_drawn_where_matplotlib_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.pipeline.config.jobs.find_spec", lambda name: None)
    result = prune(tmp_path / "a.onnx", macs=0.5, pareto=tmp_path / "c")
    assert names(tmp_path) == ["a.onnx", "a.plan.json", "c.csv", "c.json"]
    assert list(result.curve_output) == ["csv", "json"]
    assert any("no drawing" in note and 'pip install "onnxprune[plot]"' in note for note in result.notes)


def test_training_comes_after_the_search_and_is_held_to_the_limit(
    tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from onnxprune.finetune.training.recipe import Recipe

    settings = PruneConfig(
        CONVNET, few, output=tmp_path / "a.onnx", method="l1", max_drop=0.1, recovery="none", preprocess="unit",
        training=Recipe(epochs=1), device="cpu",
    )  # fmt: skip
    result = run(settings)
    assert "The limits on the loss chose the plan by its recovered weights, before the training." in result.notes
    before = names(tmp_path)
    measured = Quality("d", 16, change=-0.2, change_interval=(-0.3, -0.1))
    monkeypatch.setattr("onnxprune.pipeline.evaluator.Evaluator.quality", lambda *args, **more: measured)
    monkeypatch.setattr(
        making, "find_plan", lambda found, choose: Found(choose(found.goal))
    )  # the search found it good
    with refused("loss-too-high", "final result", "20.0 points of top-1"):
        run(evolve(settings, output=tmp_path / "b.onnx", goal=Goal(onnxprune.Budget(macs=0.5))))
    assert names(tmp_path) == before


def test_samples_that_cannot_judge_choose_nothing(tmp_path: Path) -> None:
    """Noise that the model calls the same all over, with and without labels."""
    specs = onnxprune.load(CONVNET).graph.input_specs
    (shape,) = [spec.shape for spec in specs]
    x = np.random.default_rng(0).normal(0, 0.01, size=(30, *(side or 1 for side in shape[1:]))).astype(np.float32)
    np.savez(tmp_path / "noise.npz", x=x)
    more: dict[str, Any] = {"data": tmp_path / "noise.npz", "preprocess": None}
    with refused("outputs-alike", "cannot judge", "force="):
        prune(tmp_path / "a.onnx", **more)
    with refused("outputs-alike", "cannot judge"):
        prune(tmp_path / "a.onnx", macs=0.5, max_drift=0.1, **more)
    assert names(tmp_path) == ["noise.npz"]
    forced = prune(tmp_path / "a.onnx", force=True, **more)
    assert any(said.startswith("These samples cannot judge: output ") for said in forced.warnings)
    asked = prune(tmp_path / "b.onnx", macs=0.5, **more)
    assert any(said.startswith("These samples cannot judge: output ") for said in asked.warnings)


@pytest.mark.parametrize("memory", [1 << 28, 1])
def test_the_recovery_of_the_plan_that_is_taken_is_not_done_again(
    tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    """Where its values fit into the memory, and the bytes are the same either way."""
    recovered = []

    def noted(*args: Any, **more: Any) -> Any:
        recovered.append(args)
        return recover_steps(*args, **more)

    monkeypatch.setattr("onnxprune.pipeline.stages.recover_steps", noted)
    more: dict[str, Any] = {"data": few, "macs": 0.6, "max_drop": 0.5, "recovery": "refit"}
    judged = mock.Mock(wraps=judge)
    monkeypatch.setattr("onnxprune.pipeline.execution.recover.judge", judged)
    first = prune(tmp_path / "a.onnx", **more, memory=memory)
    assert first.search is not None
    assert judged.call_count == (memory == 1)
    assert len(recovered) == len(first.search.trials) + (memory == 1)
    monkeypatch.setattr("onnxprune.pipeline.planning.search.Trials.stages", lambda *_: None)
    prune(tmp_path / "b.onnx", **more)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("preprocess", ["unit", "auto"])
def test_the_original_is_asked_once_what_it_says_of_the_data(
    tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch, preprocess: str
) -> None:
    """What evaluators know of it is what they would find out, and of test data they know nothing."""
    opened = []
    session = measuring.Evaluator.session

    def noted(self: measuring.Evaluator) -> Any:
        opened.append(self)
        return session(self)

    monkeypatch.setattr(measuring.Evaluator, "session", noted)
    more: dict[str, Any] = {"data": few, "max_drop": 0.5, "recovery": "fold", "preprocess": preprocess}
    first = prune(tmp_path / "a.onnx", **more)
    assert not opened
    prune(tmp_path / "b.onnx", **more, test=TEST)
    assert len(opened) == 1
    monkeypatch.setattr("onnxprune.pipeline.samples.Samples.known", None)
    again = prune(tmp_path / "c.onnx", **more)
    assert again.quality == first.quality
    assert again.search == first.search
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


def asked(*needed: float, shares: tuple[float, ...] = SHARES) -> int | None:
    """Return which plan is taken of some that are shown to hold at these parts of the error, the mildest first."""
    made = []
    for number, part in enumerate(needed):
        trial = Trial(None, 1 - 0.1 * number, 1.0, 1.0, Quality("d", 100))
        made.append(Tried(trial, Chosen({}, None, ()), needed=part))
    found = cheapest_shown(made[::-1], shares)
    return None if found is None else made.index(found.tried)


def test_held_out_samples_are_asked_at_shares_of_the_error_that_are_handed_on() -> None:
    no = np.inf
    assert asked() is None
    assert asked(1.0) == 0, "alone it has all of it"
    assert asked(0.41, 0.41, 0.21, 0.0) is None
    assert asked(0.4, 0.8, 1.0, 1.0, 1.0) == 4
    assert asked(0.4, 0.81, 0.2, 0.2, no) == 3, "what was handed on is lost with a plan that fails"
    assert asked(no, 0.4, 0.6, 0.61) == 2
    assert asked(no, no, 0.2, 0.2) == 3
    assert asked(no, no, no, 0.0) is None
    assert asked(0.9, 1.0, shares=ALONE) == 1, "few samples show something of the first plan or of none"
    assert asked(no, 0.0, shares=ALONE) is None
    tried = [
        Tried(Trial(None, macs, 1.0, 1.0, Quality("d", 9)), Chosen({}, None, ()), needed=0.3) for macs in (0.9, 0.8)
    ]
    passed = cheapest_shown(tried)
    assert passed is not None
    assert passed.error == pytest.approx(1.0), "all that was handed on"


@pytest.mark.parametrize(
    ("foreseen", "wrong", "misses"),
    [(0.02, 0.1, True), (0.02, np.inf, True), (0.02, 0.01, False), (0.005, 0.1, False), (None, 0.1, False)],
)
def test_a_loss_that_is_foreseen_counts_where_outputs_changed(
    foreseen: float | None, wrong: float, misses: bool
) -> None:
    trial = Trial(None, 0.9, 1.0, 1.0, Quality("d", 9), foreseen)
    tried = Tried(trial, Chosen({}, None, ()), wrong=wrong, judges=30)
    few = replace(tried, judges=29)
    assert few.foreseen_to_miss(LossLimits({"max_drop": 0.01})) is (foreseen is not None and wrong > 0.02)
    assert tried.foreseen_to_miss(LossLimits({"max_drop": 0.01})) is misses
    assert not tried.foreseen_to_miss(LossLimits({"max_drift": 0.01}))


@pytest.mark.parametrize("alike", [0.0, 0.7, 1.0])
def test_no_more_than_the_error_passes_wrongly(alike: float) -> None:
    """Of plans none of which holds; what the samples say of them may go together."""
    rng, error, runs, wrong = np.random.default_rng(0), 0.05, 4000, 0
    for _ in range(runs):
        scores = np.sqrt(alike) * rng.normal() + np.sqrt(1 - alike) * rng.normal(size=8)
        parts = [NormalDist().cdf(score) / error for score in scores]
        wrong += asked(*(part if part <= 1 else np.inf for part in parts)) is not None
    assert wrong / runs <= error + 3 * np.sqrt(error * (1 - error) / runs)
    assert wrong / runs >= error / 4, "the error is used"


def test_what_a_plan_needs_of_the_error_follows_from_the_bounds(tmp_path: Path) -> None:
    config = PruneConfig(
        CONVNET, CALIB, output=tmp_path / "a.onnx", method="l1", preprocess=PRESETS["unit"], max_drop=0.1,
        max_drift=0.9, recovery="none",
    )  # fmt: skip
    with open_run(config) as opened:
        trials = Trials(opened, lambda goal: choose_in_steps(replace(opened, goal=goal)))
        tried = trials.at(0.9)
        assert tried is not None
        assert tried.trial.holds
        assert 0 < tried.needed < 1
        hopeless = trials.at(0.03)
        assert hopeless is not None
        assert not hopeless.trial.holds
        assert hopeless.needed == np.inf


def test_the_same_samples_are_not_asked_again_when_a_plan_is_applied(tmp_path: Path) -> None:
    """What they did not show in the order of asking they do not show when they are asked of that plan alone."""
    found = prune(tmp_path / "a.onnx", max_drop=0.3, recovery="none", method="l1")
    assert found.promise is not None
    assert found.promise.state == "held"
    plan = replace(found.plan, promise={**found.plan.promise, "state": "careful"})
    states = []
    for data in (CALIB, TEST):
        applied = replay(PruneConfig(CONVNET, data, output=tmp_path / "b.onnx", preprocess=PRESETS["unit"]), plan)
        assert applied.promise is not None
        states.append(applied.promise.state)
    assert states == ["careful", "held"]
