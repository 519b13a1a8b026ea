"""The main job through the Python API: what is written, what is refused, and that the stages add up to it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from folders import names
from nets import net
from places import CALIB, CONVNET, RESNET, SAMPLES
from refusals import refused

import onnxprune
from onnxprune.data import split
from onnxprune.errors import Code, InputError
from onnxprune.graph.storage.measures import digest
from onnxprune.pipeline.apply import apply_plan as replay
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.execution import cut as cutting
from onnxprune.pipeline.planning import make as making
from onnxprune.pipeline.planning.search import Found
from onnxprune.selection.goal import Goal
from onnxprune.surgery.cut import Cut, cut
from onnxprune.values.plan import read_plan
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.trials import Search


@pytest.fixture(scope="session")
def halved(tmp_path_factory: pytest.TempPathFactory) -> onnxprune.Result:
    """The resnet pruned to half of its MACs."""
    folder = tmp_path_factory.mktemp("halved")
    return onnxprune.prune(RESNET, data=CALIB, macs=0.5, output=folder / "half.onnx")


def prune(model: Path, **more: Any) -> onnxprune.Result:
    """Prune without trying presets, to save time."""
    return onnxprune.prune(model, **{"preprocess": "unit", **more})


def written(result: onnxprune.Result) -> tuple[Path, Path]:
    assert result.output is not None
    assert result.plan_output is not None
    return result.output, result.plan_output


def test_a_budget_is_met_at_no_loss_and_both_files_are_written(halved: onnxprune.Result) -> None:
    model, plan = written(halved)
    assert names(model.parent) == ["half.onnx", "half.plan.json"]
    assert halved.plan.reached["macs"] <= 0.5
    assert halved.after is not None
    assert halved.after.macs == pytest.approx(halved.plan.reached["macs"] * halved.before.macs, rel=1e-9)
    assert halved.quality is not None
    assert halved.quality.before is not None
    assert halved.quality.after is not None
    assert halved.quality.before.top1 >= 0.98
    assert halved.quality.after.top1 >= 0.98
    assert halved.quality.samples == 60
    assert halved.equality is not None
    assert halved.equality.status == "equal"
    assert onnxprune.load_plan(plan) == halved.plan


def test_the_figures_are_those_of_the_written_file(halved: onnxprune.Result) -> None:
    path, _ = written(halved)
    analysis = onnxprune.inspect(onnxprune.load(path))
    assert halved.after is not None
    assert analysis.macs() == halved.after.macs
    assert path.stat().st_size == halved.after.size
    assert halved.before.size == RESNET.stat().st_size
    assert halved.after.params < halved.before.params
    assert halved.after.channels == sum(group.kept for group in halved.plan.groups.values())


def test_the_written_model_says_where_it_comes_from_and_is_valid(halved: onnxprune.Result) -> None:
    path, _ = written(halved)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert entries["onnxprune.original"] == halved.plan.digest == digest(onnx.load(RESNET))
    assert entries["onnxprune.method"] == "reconstruction"
    assert entries["onnxprune.cut"].startswith(f"{halved.plan.removed} of ")


def test_the_outcome_is_json(halved: onnxprune.Result) -> None:
    found = json.loads(json.dumps(halved.to_json()))
    assert found["requested"] == {"macs": 0.5, "round_to": 8}
    assert found["verification"]["status"] == "equal"
    assert found["reached"]["macs"] <= 0.5
    assert set(found["groups"]) == set(halved.plan.groups)


def test_every_width_is_a_block_or_whole(halved: onnxprune.Result) -> None:
    for group in halved.plan.groups.values():
        assert group.kept % 8 == 0 or group.kept == group.size or group.kept < 8


def test_the_same_inputs_give_the_same_bytes(halved: onnxprune.Result, tmp_path: Path) -> None:
    again = onnxprune.prune(RESNET, data=CALIB, macs=0.5, output=tmp_path / "half.onnx")
    for first, second in zip(written(halved), written(again), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_other_names_places_and_threads_give_the_same_bytes(tmp_path: Path) -> None:
    """Of the model; the plan, with its widths rounded as told, but for the model's own name."""
    runs = []
    for number, (name, threads) in enumerate((("net", 1), ("another model", 2))):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        source = folder / f"{name}.onnx"
        shutil.copyfile(CONVNET, source)
        output = folder / f"{name} (small).onnx"
        result = onnxprune.prune(source, data=CALIB, macs=0.5, round_to=1, threads=threads, output=output)
        model, plan = written(result)
        runs.append((model.read_bytes(), plan.read_bytes().replace(source.name.encode(), b"")))
    assert runs[0] == runs[1]


def test_the_input_stays_byte_for_byte(tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    shutil.copyfile(RESNET, source)
    result = prune(source, data=CALIB, ratio=0.5)
    assert source.read_bytes() == RESNET.read_bytes()
    assert names(tmp_path) == ["net.onnx", "net.pruned.onnx", "net.pruned.plan.json"]
    assert written(result)[0] == tmp_path / "net.pruned.onnx"


def test_the_stages_one_by_one_give_the_same_plan_and_model(halved: onnxprune.Result) -> None:
    model = onnxprune.load(RESNET)
    analysis = onnxprune.inspect(model)
    scaled = Preprocess.from_json(halved.plan.data["preprocess"])
    data, _ = split(onnxprune.open_data(CALIB, model.graph.input_specs, scaled), 0.2, 0)
    assert len(data) == 240
    statistics = onnxprune.collect(analysis, data)
    scores = onnxprune.score(analysis, statistics)
    chosen = onnxprune.plan(model, analysis, scores, onnxprune.Budget(macs=0.5))
    assert chosen.groups == halved.plan.groups
    assert (chosen.digest, chosen.reached, chosen.request) == (
        halved.plan.digest,
        halved.plan.reached,
        halved.plan.request,
    )
    result, chosen = onnxprune.apply(model, analysis, chosen)
    assert onnxprune.verify(model, analysis, result, data).status == "equal"
    result = onnxprune.recover(model, result, data)
    stored = onnx.load(written(halved)[0])
    assert list(result.model.graph.initializer) == list(stored.graph.initializer)
    assert list(result.model.graph.node) == list(stored.graph.node)


def test_a_dry_run_writes_only_the_plan(halved: onnxprune.Result, tmp_path: Path) -> None:
    result = prune(RESNET, data=CALIB, macs=0.5, output=tmp_path / "half.onnx", dry_run=True)
    assert names(tmp_path) == ["half.plan.json"]
    assert (result.output, result.after, result.quality, result.equality) == (None, None, None, None)
    assert onnxprune.load_plan(tmp_path / "half.plan.json").groups == halved.plan.groups


def test_a_plan_is_replayed_to_the_same_bytes(halved: onnxprune.Result, tmp_path: Path) -> None:
    model, plan = written(halved)
    settings = PruneConfig(RESNET, data=CALIB, output=tmp_path / "again.onnx")
    result = replay(settings, onnxprune.load_plan(plan))
    assert names(tmp_path) == ["again.onnx"]
    assert (tmp_path / "again.onnx").read_bytes() == model.read_bytes()
    assert result.equality is not None
    assert result.equality.status == "equal"


def test_a_plan_without_data_is_cut_and_not_recovered(halved: onnxprune.Result, tmp_path: Path) -> None:
    plan = replace(halved.plan, recovery={"name": "refit"})
    result = replay(PruneConfig(RESNET, output=tmp_path / "again.onnx"), plan)
    assert result.notes == ("Recovery refit takes sample data, so this is the cut alone; give --data for it.",)
    cut_alone, _ = written(prune(RESNET, data=CALIB, macs=0.5, output=tmp_path / "cut.onnx", recovery="none"))
    assert (tmp_path / "again.onnx").read_bytes() == cut_alone.read_bytes()


def test_a_plan_of_a_match_takes_torch(
    halved: onnxprune.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxprune.finetune.installed.find_spec", lambda _: None)
    plan = replace(halved.plan, recovery={"name": "match"})
    with refused("not-installed", "torch"):
        replay(PruneConfig(RESNET, data=CALIB, output=tmp_path / "again.onnx", preprocess="unit"), plan)
    assert not list(tmp_path.iterdir())


def test_other_data_than_the_plans_is_said(halved: onnxprune.Result, tmp_path: Path) -> None:
    settings = PruneConfig(RESNET, data=CALIB, holdout=0.5, output=tmp_path / "again.onnx", preprocess="unit")
    notes = replay(settings, replace(halved.plan, recovery={"name": "refit"})).notes
    assert "The weights were recovered with other data than the plan's scores were computed from." in notes


def test_what_recovery_gives_back_is_measured_step_by_step(tmp_path: Path) -> None:
    worse: dict[str, Any] = {"method": "entropy", "options": {"variant": "map"}, "macs": 0.05}
    result = prune(RESNET, data=CALIB, **worse, output=tmp_path / "out.onnx")
    assert result.quality is not None
    assert result.quality.after is not None
    cut_top1, folded, refitted = (step.top1 for step in result.quality.steps)
    assert [step.name for step in result.quality.steps] == ["cut", "fold", "refit"]
    assert refitted == result.quality.after.top1
    assert cut_top1 is not None
    assert folded is not None
    assert refitted is not None
    assert refitted >= 0.9
    assert cut_top1 <= 0.8
    assert result.plan.recovery == {"name": "refit", "samples": 210}
    assert any(note.startswith("Recovery refit was taken, with ") for note in result.notes)
    entries = {entry.key: entry.value for entry in onnx.load(tmp_path / "out.onnx").metadata_props}
    assert entries["onnxprune.recovery"] == "refit"
    without = prune(RESNET, data=CALIB, **worse, output=tmp_path / "cut.onnx", recovery="none")
    assert without.quality is not None
    assert without.quality.after is not None
    assert without.quality.after.top1 == cut_top1
    assert without.quality.steps == ()
    assert without.plan.recovery == {}


def test_recovery_never_sees_what_is_measured_on(tmp_path: Path) -> None:
    """The same calibration images with other test images give the same weights."""
    few = tmp_path / "few"
    for folder in CALIB.iterdir():
        (few / folder.name).mkdir(parents=True)
        for image in sorted(folder.iterdir())[:3]:
            shutil.copyfile(image, few / folder.name / image.name)
    found = []
    for test in (CALIB, SAMPLES / "test"):
        output = tmp_path / test.name / "out.onnx"
        output.parent.mkdir()
        prune(RESNET, data=few, test=test, macs=0.3, output=output)
        found.append(output.read_bytes())
    assert found[0] == found[1]


def test_a_recovery_that_cannot_read_its_files_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **more: Any) -> None:
        raise InputError("the disk is broken", "unreadable-file")

    monkeypatch.setattr("onnxprune.recovery.run.sample_calls", fails)
    with refused("unreadable-file", "disk is broken"):
        prune(RESNET, data=CALIB, macs=0.3, output=tmp_path / "out.onnx")
    assert names(tmp_path) == []


def test_a_recovery_that_cannot_run_leaves_the_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **more: Any) -> None:
        raise InputError("the runtime has no kernel", "not-runnable")

    monkeypatch.setattr("onnxprune.recovery.run.sample_calls", fails)
    result = prune(RESNET, data=CALIB, macs=0.3, output=tmp_path / "out.onnx")
    assert "Recovery refit stopped where it was: The runtime has no kernel." in result.notes
    assert result.quality is not None
    assert result.quality.steps == ()
    plain = prune(RESNET, data=CALIB, macs=0.3, output=tmp_path / "cut.onnx", recovery="none")
    files = [onnx.load(path).graph for path in (written(result)[0], written(plain)[0])]
    assert files[0] == files[1]


def test_an_unknown_recovery_is_refused(tmp_path: Path) -> None:
    with refused("bad-value", "recovery='magic'", "none, bias, fold, match, refit"):
        prune(RESNET, data=CALIB, macs=0.5, output=tmp_path / "out.onnx", recovery="magic")


def test_a_plan_of_another_model_is_refused(halved: onnxprune.Result, tmp_path: Path) -> None:
    with refused("wrong-model", "digits_resnet.onnx", "--dry-run"):
        replay(PruneConfig(CONVNET, output=tmp_path / "out.onnx"), halved.plan)
    assert names(tmp_path) == []


@pytest.mark.parametrize("change", ["unknown", "size", "frozen"])
def test_a_plan_with_groups_that_do_not_fit_is_refused(halved: onnxprune.Result, change: str) -> None:
    model = onnxprune.load(RESNET)
    analysis = onnxprune.inspect(model)
    data = json.loads(halved.plan.to_text())
    name, entry = next(iter(data["groups"].items()))
    if change == "unknown":
        data["groups"] = {"nowhere": entry}
    elif change == "size":
        data["groups"] = {name: {**entry, "size": entry["size"] + 1}}
    else:
        (frozen,) = [group for group in analysis.groups if group.frozen]
        data["groups"] = {frozen.name: {**entry, "size": frozen.size, "removed": [0]}}
    plan_text = json.dumps(data)
    chosen = replace(halved.plan, groups=read_plan(plan_text, "p.json").groups)
    with refused("wrong-model", "group '"):
        onnxprune.apply(model, analysis, chosen)


def test_ratio_and_macs_both_hold(tmp_path: Path) -> None:
    result = prune(RESNET, data=CALIB, macs=0.4, ratio=0.25, output=tmp_path / "out.onnx", dry_run=True)
    assert result.plan.reached["macs"] <= 0.4
    for group in result.plan.groups.values():
        assert group.kept <= -(-int(0.75 * group.size) // 8) * 8
    alone = prune(RESNET, data=CALIB, macs=0.4, output=tmp_path / "out.onnx", dry_run=True)
    assert any(group.kept > result.plan.groups[name].kept for name, group in alone.plan.groups.items())


def test_by_alpha_the_methods_own_rule_decides(tmp_path: Path) -> None:
    """The sample networks were trained so that exactly three quarters of every group are silent."""
    result = prune(CONVNET, data=CALIB, output=tmp_path / "out.onnx", round_to=1, method="entropy", alpha=1.0)
    assert {group.kept / group.size for group in result.plan.groups.values()} == {0.25}
    assert result.quality is not None
    assert result.quality.change == 0.0
    assert result.equality is not None
    assert result.equality.where == "perturbed weights"


def test_a_collapse_that_no_budget_asked_for_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On test data of its own a plan may do worse than on those that it was chosen by."""
    options: dict[str, Any] = {
        "output": tmp_path / "out.onnx",
        "method": "entropy",
        "options": {"variant": "map", "rule": "vote", "q": 0.1},
        "recovery": "none",
        "test": SAMPLES / "test",
    }

    def chosen_badly(found: Run, choose: Any) -> Any:
        return Found(choose(Goal(onnxprune.Budget(alpha=1.0))), Search({}, "", ()))

    monkeypatch.setattr(making, "find_plan", chosen_badly)
    with refused("loss-too-high", "The final result loses", "nothing was written"):
        prune(RESNET, data=CALIB, **options)
    assert names(tmp_path) == []
    forced = prune(RESNET, data=CALIB, force=True, **options)
    assert names(tmp_path) == ["out.onnx", "out.plan.json"]
    assert any(warning.startswith("Top-1 fell by ") for warning in forced.warnings)
    assert forced.promise is not None
    assert forced.promise.state == "missed"


def test_a_collapse_with_a_budget_is_written_with_a_warning(tmp_path: Path) -> None:
    result = prune(RESNET, data=CALIB, macs=0.02, round_to=1, output=tmp_path / "out.onnx", recovery="none")
    assert result.warnings[0].startswith("Top-1 fell by ")
    assert any("is classified right any more" in warning for warning in result.warnings)
    assert names(tmp_path) == ["out.onnx", "out.plan.json"]


def test_an_unreachable_budget_names_the_closest_and_writes_nothing(tmp_path: Path) -> None:
    with refused("over-budget", "0.1 % of the MACs"):
        prune(RESNET, data=CALIB, macs=0.001, output=tmp_path / "out.onnx")
    assert names(tmp_path) == []


def test_a_failed_check_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(analysis: Any, keep: Any) -> Cut:
        right = cut(analysis, keep)
        tensor = next(t for t in right.model.graph.initializer if t.name == "fc.weight" or len(t.dims) == 4)
        value = np.array(onnx.numpy_helper.to_array(tensor))[::-1]
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
        return right

    monkeypatch.setattr(cutting, "cut", faulty)
    with refused("cut-differs", "'logits'"):
        prune(RESNET, data=CALIB, macs=0.5, output=tmp_path / "out.onnx")
    assert names(tmp_path) == []


def test_the_input_is_refused_as_output() -> None:
    with refused("would-overwrite", "input model"):
        prune(RESNET, data=CALIB, macs=0.5, output=RESNET)


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty digits in one flat folder."""
    folder = tmp_path_factory.mktemp("flat")
    for path in sorted(CALIB.rglob("*.png"))[::7][:40]:
        shutil.copyfile(path, folder / f"{path.parent.name}_{path.name}")
    return folder


def test_images_without_labels_are_measured_by_drift(unlabelled: Path, tmp_path: Path) -> None:
    result = prune(RESNET, data=unlabelled, method="entropy", macs=0.5, output=tmp_path / "out.onnx")
    assert result.quality is not None
    assert result.quality.before is None
    assert result.quality.drift is not None
    assert result.quality.drift["logits"] < 0.01
    assert result.quality.agreement == {"logits": 1.0}
    assert "The data has no labels: all images count as one class." in result.notes
    assert result.plan.data["classes"] == 0


def test_the_random_baseline_runs_without_labels_and_is_seeded(unlabelled: Path, tmp_path: Path) -> None:
    def plan(seed: int) -> onnxprune.Plan:
        return prune(
            RESNET, data=unlabelled, method="random", ratio=0.5, output=tmp_path / "out.onnx", seed=seed, dry_run=True
        ).plan

    options: dict[str, Any] = {"method": "random", "ratio": 0.5, "output": tmp_path / "out.onnx"}
    result = prune(RESNET, data=unlabelled, recovery="none", **options)
    assert result.quality is not None
    assert result.quality.drift is not None
    assert result.quality.drift["logits"] > 0.1
    recovered = prune(RESNET, data=unlabelled, **options).quality
    assert recovered is not None
    assert recovered.steps[0].drift == result.quality.drift["logits"]
    assert recovered.steps[-1].drift is not None
    assert recovered.steps[-1].drift < 0.9 * result.quality.drift["logits"]
    assert plan(0).groups == result.plan.groups
    assert plan(1).groups != plan(0).groups
    assert {group.kept / group.size for group in result.plan.groups.values()} == {0.5}


def test_a_method_that_only_ranks_needs_a_budget(tmp_path: Path) -> None:
    with refused("missing-option", "random", "ratio=", "macs=", "params="):
        prune(RESNET, method="random", output=tmp_path / "out.onnx")


@pytest.mark.parametrize(
    ("budget", "option"),
    [
        ({"macs": 0.0}, "macs="),
        ({"macs": 1.5}, "macs="),
        ({"macs": float("nan")}, "macs="),
        ({"ratio": 1.0}, "ratio="),
        ({"alpha": float("nan")}, "alpha="),
        ({"alpha": -1.0}, "alpha="),
    ],
)
def test_budgets_out_of_range_are_refused(budget: dict[str, Any], option: str) -> None:
    model = onnxprune.load(CONVNET)
    analysis = onnxprune.inspect(model)
    scores = onnxprune.score(analysis, onnxprune.collect(analysis, None, "random"), "random")
    with refused("bad-value", option):
        onnxprune.plan(model, analysis, scores, onnxprune.Budget(**budget), "entropy")


def test_a_block_below_one_is_refused() -> None:
    model = onnxprune.load(CONVNET)
    analysis = onnxprune.inspect(model)
    scores = onnxprune.score(analysis, onnxprune.collect(analysis, None, "random"), "random")
    with refused("bad-value", "round_to=", "0"):
        onnxprune.plan(model, analysis, scores, onnxprune.Budget(ratio=0.5), round_to=0)


def test_a_method_that_needs_data_says_so() -> None:
    analysis = onnxprune.inspect(onnxprune.load(CONVNET))
    with refused("no-data", "reconstruction", "data="):
        onnxprune.collect(analysis, None)


def test_a_model_with_nothing_to_prune_is_told_so(tmp_path: Path) -> None:
    model = net("(float[n, 1, 8, 8] x) => (float[n, 4, 6, 6] y) <float[4, 1, 3, 3] w> { y = Conv(x, w) }")
    onnx.save(model, tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(10, 1, 8, 8)).astype(np.float32))
    with refused("nothing-to-prune", "the only channel group"):
        prune(tmp_path / "net.onnx", data=tmp_path / "data.npz", ratio=0.5)
    assert names(tmp_path) == ["data.npz", "net.onnx"]


def test_a_budget_that_already_holds_writes_nothing(tmp_path: Path) -> None:
    with refused("nothing-to-prune", "budget already holds"):
        prune(RESNET, data=CALIB, macs=1.0, output=tmp_path / "out.onnx")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [("missing.json", "missing-file"), ("folder", "unreadable-file"), ("binary.json", "unreadable-file")],
)
def test_a_plan_that_cannot_be_read_is_an_input_error(tmp_path: Path, name: str, code: Code) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with refused(code, name, "dry_run="):
        onnxprune.load_plan(tmp_path / name)


@pytest.mark.parametrize("method", ["reconstruction", "entropy"])
def test_the_number_of_threads_changes_no_plan_where_widths_are_not_measured(tmp_path: Path, method: str) -> None:
    plans = []
    for threads in (1, 3):
        path = tmp_path / f"{threads}.json"
        settings: dict[str, Any] = {"macs": 0.5, "round_to": 8, "dry_run": True, "plan_output": path}
        prune(RESNET, data=CALIB, method=method, threads=threads, **settings)
        plans.append(path.read_bytes())
    assert plans[0] == plans[1]
