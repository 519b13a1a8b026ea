"""A classifier cut to some of its classes: the model, its labels file, the plan, and using the result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from folders import names
from nets import net
from places import CONVNET, TEST
from refusals import refused

import onnxprune
from onnxprune.graph.storage.metadata import CLASSES, classes_left
from onnxprune.pipeline.apply import apply_plan as replay
from onnxprune.pipeline.config.jobs import PruneConfig


def trimmed(data: Path, output: Path, **more: Any) -> onnxprune.Result:
    options: dict[str, Any] = {"classes": ["7", "1", "4"], "trim_head": True, "test": TEST, "preprocess": "unit"}
    return onnxprune.prune(CONVNET, data, "l2", output=output, **{"macs": 0.2, **options, **more})


@pytest.fixture(scope="module")
def result(few: Path, tmp_path_factory: pytest.TempPathFactory) -> onnxprune.Result:
    """The convnet cut to a fifth of its MACs and to three of its classes."""
    return trimmed(few, tmp_path_factory.mktemp("trim") / "out.onnx")


def test_model_plan_and_labels_are_written_in_one_step(result: onnxprune.Result) -> None:
    assert result.output is not None
    assert result.labels_output == result.output.with_name("out.labels.txt")
    assert result.labels_output.read_text() == "1\n4\n7\n"
    assert names(result.output.parent) == [
        "out.labels.txt",
        "out.onnx",
        "out.plan.json",
    ]
    assert result.to_json()["labels"] == str(result.labels_output)


def test_the_output_has_the_classes_in_the_models_order(result: onnxprune.Result) -> None:
    assert result.output is not None
    before, after = onnx.load(CONVNET), onnx.load(result.output)
    (old,), (new,) = before.graph.output, after.graph.output
    assert (old.name, old.type.tensor_type.shape.dim[1].dim_value) == (new.name, 10)
    assert new.type.tensor_type.shape.dim[1].dim_value == 3
    onnx.checker.check_model(after, full_check=True)
    assert classes_left(after) == ("1", "4", "7")
    head = onnxprune.inspect(onnxprune.load(CONVNET), trim_head=True).classes
    assert head is not None
    assert result.plan.groups[head.name].removed == (0, 2, 3, 5, 6, 8, 9)
    assert result.plan.request == {"macs": 0.2, "round_to": 8, "trim_head": True}


def test_it_is_checked_and_measured_against_the_original_on_these_classes(result: onnxprune.Result) -> None:
    assert result.equality is not None
    assert result.equality.status == "equal"
    assert result.quality is not None
    assert result.quality.before is not None
    assert result.quality.after is not None
    assert (result.quality.before.classes, result.quality.after.classes) == (3, 3)
    assert result.quality.after.top1 >= 0.97
    assert result.quality.steps
    assert any("has 3 of its 10 classes left, in their order: 1, 4, 7" in note for note in result.notes)


def test_the_budget_counts_the_head_that_goes(result: onnxprune.Result) -> None:
    assert result.output is not None
    assert result.after is not None
    smaller = onnxprune.inspect(onnxprune.load(result.output))
    assert smaller.macs() == result.after.macs == pytest.approx(result.plan.reached["macs"] * result.before.macs)
    assert result.plan.reached["macs"] <= 0.2
    assert result.before.channels == sum(
        group.size for group in onnxprune.inspect(onnxprune.load(CONVNET), trim_head=True).prunable
    )


def test_the_plan_repeats_it(few: Path, result: onnxprune.Result, tmp_path: Path) -> None:
    assert result.output is not None
    assert result.plan_output is not None
    plan = onnxprune.load_plan(result.plan_output)
    again = replay(PruneConfig(CONVNET, data=few, test=TEST, output=tmp_path / "out.onnx", preprocess="unit"), plan)
    assert (tmp_path / "out.onnx").read_bytes() == result.output.read_bytes()
    assert again.labels_output is not None
    assert again.labels_output.read_text() == "1\n4\n7\n"
    blind = replay(PruneConfig(CONVNET, output=tmp_path / "blind.onnx"), plan)
    assert blind.labels_output is not None
    assert blind.labels_output.read_text() == "1\n4\n7\n"


def test_the_result_is_used_on_the_whole_data(few: Path, result: onnxprune.Result, tmp_path: Path) -> None:
    """It remembers its classes, so that folders of others are passed over."""
    assert result.output is not None
    again = onnxprune.prune(
        result.output, few, "l2", ratio=0.5, test=TEST, output=tmp_path / "o.onnx", preprocess="unit", dry_run=True
    )
    assert again.data is not None
    assert again.data.classes == {"1": 0, "4": 1, "7": 2}
    assert again.data.original is not None
    assert again.data.original.top1 >= 0.95


def test_classes_may_be_all_that_goes(few: Path, tmp_path: Path) -> None:
    result = trimmed(few, tmp_path / "out.onnx", macs=None, ratio=0, recovery="none")
    assert result.plan.removed == 7
    assert result.equality is not None
    assert result.equality.status == "equal"
    assert result.quality is not None
    assert result.quality.change == 0
    assert result.after is not None
    assert result.after.params < result.before.params


def test_outputs_are_compared_where_accuracy_is_not_asked_for(few: Path, tmp_path: Path) -> None:
    result = trimmed(few, tmp_path / "out.onnx", macs=None, ratio=0, recovery="none", check_accuracy=False)
    assert result.quality is not None
    assert result.quality.drift is not None
    (moved,) = result.quality.drift.values()
    assert moved <= 1e-5
    assert list((result.quality.agreement or {}).values()) == [1.0]


def test_a_dry_run_writes_no_labels(few: Path, tmp_path: Path) -> None:
    trimmed(few, tmp_path / "out.onnx", dry_run=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.plan.json"]


def test_saved_scores_leave_the_head_out(few: Path, result: onnxprune.Result, tmp_path: Path) -> None:
    scores = tmp_path / "scores.npz"
    trimmed(few, tmp_path / "a.onnx", save_scores=scores, dry_run=True)
    again = trimmed(few, tmp_path / "b.onnx", scores=scores, dry_run=True)
    assert again.plan.groups == result.plan.groups
    with np.load(scores) as file:
        masks = {name: file[name] for name in file.files if name.startswith("keep:")}
    np.savez(scores, **masks)
    assert trimmed(few, tmp_path / "c.onnx", macs=None, scores=scores, dry_run=True).plan.groups == result.plan.groups


def test_stage_by_stage_the_head_is_cut_alike(result: onnxprune.Result) -> None:
    model = onnxprune.load(CONVNET)
    analysis = onnxprune.inspect(model, trim_head=True)
    scores = onnxprune.score(analysis, onnxprune.collect(analysis, None, "l2"), "l2")
    plan = onnxprune.plan(model, analysis, scores, onnxprune.Budget(macs=0.2), "l2", outputs=(1, 4, 7))
    assert plan.groups == result.plan.groups
    with refused("bad-value", "0 to 9", "4, 10"):
        onnxprune.plan(model, analysis, scores, onnxprune.Budget(macs=0.2), "l2", outputs=(4, 10))


def test_a_head_without_chosen_classes_is_refused(few: Path, tmp_path: Path) -> None:
    with refused("missing-option", "trim_head=", "classes="):
        trimmed(few, tmp_path / "out.onnx", classes=())


def test_a_head_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    text = """(float[n, 6] x) => (float[n, 4] y, float[n, 4] p) <float[6, 16] w, float[16, 4] v> {
        h = MatMul(x, w) r = Relu(h) y = MatMul(r, v) p = Softmax(y) }"""
    path = tmp_path / "net.onnx"
    onnx.save(net(text), path)
    np.savez(tmp_path / "d.npz", x=np.ones((8, 6), dtype=np.float32), y=np.arange(8) % 4)
    with refused("unsupported-model", "net.onnx", "p:1 is part of the graph"):
        onnxprune.prune(path, tmp_path / "d.npz", ratio=0.5, classes=["0", "2"], trim_head=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d.npz", "net.onnx"]


@pytest.mark.parametrize("value", ["no json", "3", '["a", 1]'])
def test_metadata_of_others_names_no_classes(value: str) -> None:
    model = onnx.ModelProto()
    model.metadata_props.add(key="other", value=json.dumps(["a", "b"]))
    model.metadata_props.add(key=CLASSES, value=value)
    assert classes_left(model) == ()
