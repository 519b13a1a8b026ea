"""Branches within a run: how many go, what is said of them, what is refused, and that a plan with them replays."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from places import CALIB, CONVNET, RESNET, TEST
from refusals import refused

import onnxprune
from onnxprune.pipeline.apply import apply_plan as replay
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.selection.count import find_count
from onnxprune.values.results import Result


def prune(output: Path, **settings: Any) -> Result:
    chosen = {"data": CALIB, "method": "l1", "preprocess": "unit", "recovery": "fold", **settings}
    return onnxprune.prune(RESNET, output=output, **chosen)


@pytest.fixture(scope="module")
def only(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return prune(tmp_path_factory.mktemp("only") / "a.onnx", macs=0.8, branches="only")


def test_branches_alone_meet_a_budget_and_all_other_widths_stay(only: Result) -> None:
    assert only.plan.reached["macs"] <= 0.8
    assert only.plan.branches
    assert {group.kept for group in only.plan.groups.values() if group.removed} == {0}
    assert only.equality is not None
    assert only.equality.status == "equal"
    assert any("branches are left out" in note for note in only.notes)


def test_plan_metadata_and_json_name_what_went(only: Result) -> None:
    assert only.output is not None
    model = onnx.load(only.output)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(entries["onnxprune.branches"]) == {name: len(nodes) for name, nodes in only.plan.branches.items()}
    assert only.plan_output is not None
    written = json.loads(only.plan_output.read_text())
    assert written["branches"] == {name: list(nodes) for name, nodes in only.plan.branches.items()}
    assert written["request"]["branches"] == "only"
    original = onnxprune.load(RESNET)
    titles = {node.title for node in original.graph.nodes}
    left = {node.name for node in model.graph.node}
    for node in (title for nodes in only.plan.branches.values() for title in nodes):
        assert node in titles
        assert node.split("'")[1] not in left
    session = onnxprune.load(only.output)
    assert [spec.name for spec in session.graph.output_specs] == [spec.name for spec in original.graph.output_specs]


def test_a_plan_with_branches_replays_to_the_same_bytes(only: Result, tmp_path: Path) -> None:
    assert only.plan_output is not None
    assert only.output is not None
    again = replay(PruneConfig(RESNET, CALIB, preprocess="unit", output=tmp_path / "b.onnx"), only.plan)
    assert again.output is not None
    assert again.output.read_bytes() == only.output.read_bytes()


def test_both_levers_meet_a_budget_that_neither_meets_by_itself(tmp_path: Path) -> None:
    with refused("over-budget", "branches alone"):
        prune(tmp_path / "a.onnx", macs=0.01, branches="only")
    with refused("over-budget", "floor"):
        prune(tmp_path / "a.onnx", macs=0.35, min_keep=0.9)
    result = prune(tmp_path / "a.onnx", macs=0.35, min_keep=0.9, branches="allowed")
    assert result.plan.reached["macs"] <= 0.35
    assert result.plan.branches


def test_without_a_latency_no_branch_goes_unless_asked_for(tmp_path: Path) -> None:
    result = prune(tmp_path / "a.onnx", macs=0.3)
    assert not result.plan.branches
    assert "branches" not in result.plan.request


def test_what_is_kept_by_hand_is_no_branch_that_goes(tmp_path: Path, only: Result) -> None:
    kept = [name for name, group in only.plan.groups.items() if not group.kept]
    result = prune(tmp_path / "a.onnx", macs=0.9, branches="only", keep=kept[:1])
    assert kept[0] not in [name for name, group in result.plan.groups.items() if group.removed]


def test_branches_take_samples_and_one_step(tmp_path: Path) -> None:
    with refused("no-data", "branches"):
        prune(tmp_path / "a.onnx", data=None, macs=0.5, branches="allowed")
    with refused("conflicting-options", "steps"):
        prune(tmp_path / "a.onnx", macs=0.5, branches="allowed", steps=2)


def test_a_plan_that_empties_another_group_is_refused(only: Result, tmp_path: Path) -> None:
    assert only.plan_output is not None
    content = json.loads(only.plan_output.read_text())
    name = next(name for name, group in content["groups"].items() if group["kept"])
    content["groups"][name]["removed"] = list(range(content["groups"][name]["size"]))
    (tmp_path / "p.json").write_text(json.dumps(content))
    with refused("bad-value", name):
        replay(PruneConfig(RESNET, TEST, output=tmp_path / "b.onnx"), onnxprune.load_plan(tmp_path / "p.json"))
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.parametrize(("best", "most"), [(0, 0), (0, 9), (9, 9), (3, 9), (13, 20), (1, 2)])
def test_a_count_with_one_valley_is_found_in_few_tries(best: int, most: int) -> None:
    tried: list[int] = []

    def error(count: int) -> float:
        tried.append(count)
        return abs(count - best)

    assert abs(find_count(error, most) - best) <= most // 8
    assert len(tried) == len(set(tried)) <= 7


def test_of_equal_counts_the_smallest_is_taken() -> None:
    assert find_count(lambda _count: float(np.inf), 5) == 0


def test_a_share_of_channels_has_no_say_where_branches_alone_go(tmp_path: Path) -> None:
    for told in ({"ratio": 0.3}, {"ratio_for": {"stage3*": 0.5}}, {"alpha": 1.0}):
        with refused("conflicting-options", "branches"):
            prune(tmp_path / "a.onnx", macs=0.6, branches="only", **told)


def test_a_model_without_branches_says_so(tmp_path: Path) -> None:
    with refused("nothing-to-prune", "no branch"):
        onnxprune.prune(CONVNET, CALIB, "l1", output=tmp_path / "a.onnx", preprocess="unit", macs=0.5, branches="only")


def test_no_more_branches_go_than_have_to(only: Result) -> None:
    analysis = onnxprune.inspect(onnxprune.load(RESNET))
    branches = [branch for branch in analysis.branches if branch.name in only.plan.branches]
    for branch in branches:
        others = {name: 0 for other in branches if other is not branch for name in other.groups}
        assert analysis.costs.macs_at(others) > 0.8 * analysis.macs()
