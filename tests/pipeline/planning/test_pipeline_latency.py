"""Budgets of latency on a machine that is made up: what is chosen by tables, and how the result is held to them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from places import CALIB, RESNET
from refusals import refused
from timed_machine import BLOCK, micros, parts

import onnxprune
from onnxprune.latency import board
from onnxprune.latency.device import Device
from onnxprune.latency.profile import profile_here
from onnxprune.pipeline.events import NULL_LISTENER
from onnxprune.pipeline.planning import plans, scoring
from onnxprune.pipeline.planning.latency import hold_latency, time_network
from onnxprune.selection.goal import Goal
from onnxprune.values.amount import read_amount


def prune(output: Path, **more: Any) -> onnxprune.Result:
    settings = {"preprocess": "unit", "method": "l1", "recovery": "none", "force": True, "round_to": 1, **more}
    return onnxprune.prune(RESNET, CALIB, output=output, **settings)


def share(result: onnxprune.Result) -> float:
    assert result.output is not None
    return micros(onnx.load(result.output)) / micros(onnx.load(RESNET))


@pytest.mark.parametrize("off", [1.0, 1.3, 0.8])
@pytest.mark.parametrize("asked", [0.7, 0.5])
def test_a_budget_of_latency_holds_on_this_machine(
    tmp_path: Path, machine: dict[str, float], asked: float, off: float
) -> None:
    """Also where whole networks take longer, or less long, than their layers say."""
    machine["off"] = off
    result = prune(tmp_path / "a.onnx", latency=asked)
    assert share(result) * off <= asked
    assert share(result) * off > asked - 0.15, "no more goes than has to"
    assert result.plan.request["latency"] == asked
    assert any("Predicted latency" in note for note in result.notes)


@pytest.mark.usefixtures("machine")
def test_widths_that_are_slower_than_wider_ones_are_not_chosen(tmp_path: Path) -> None:
    """With blocks of 8, a width of 9 to 15 takes as long as 16 does, so no more than that is cut for nothing."""
    result = prune(tmp_path / "a.onnx", latency=0.6, round_to=None, force=True)
    assert result.plan.request["round_to"] == BLOCK
    assert all(group.kept % BLOCK == 0 or group.kept in (2, 4, 6, group.size) for group in result.plan.groups.values())


@pytest.mark.usefixtures("machine")
def test_milliseconds_and_other_budgets_hold_together(tmp_path: Path) -> None:
    whole = micros(onnx.load(RESNET)) / 1000
    result = prune(tmp_path / "a.onnx", latency=f"{0.7 * whole:.4f}ms", macs=0.9, params="50%")
    assert share(result) <= 0.7
    assert result.plan.reached["params"] <= 0.5


@pytest.mark.usefixtures("machine")
def test_data_that_are_missing_are_refused_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "run", lambda *args: pytest.fail("something was timed"))
    with refused("missing-file", "no such folder"):
        onnxprune.prune(RESNET, tmp_path / "no such folder", latency="60%", output=tmp_path / "a.onnx")


@pytest.mark.usefixtures("machine")
def test_what_cannot_be_met_is_refused_before_any_model_is_run_on_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxprune.pipeline.opening.scale_pixels", lambda *_: pytest.fail("the original was run"))
    with refused("over-budget", "on this machine", "% of the original"):
        onnxprune.prune(RESNET, CALIB, method="l1", latency="1%", branches="never", output=tmp_path / "a.onnx")
    with refused("over-budget", "latency"):
        onnxprune.prune(RESNET, CALIB, method="l1", latency="1%", output=tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.usefixtures("machine")
def test_policy_latency_has_the_network_timed_whatever_the_budget(tmp_path: Path) -> None:
    result = prune(tmp_path / "a.onnx", macs=0.5, policy="latency")
    assert result.plan.reached["macs"] <= 0.5
    assert result.plan.reached["latency"] < 1


@pytest.mark.usefixtures("machine")
def test_nothing_held_is_refused_with_what_was_reached() -> None:
    model, analysis = parts()
    goal = Goal(onnxprune.Budget(latency=read_amount("60%", {})), 1)
    analysis, goal, timing = time_network(model, analysis, goal, None, Device(), NULL_LISTENER)
    keep = {group.name: np.ones(group.size, dtype=bool) for group in analysis.prunable}
    with refused("over-budget", "60%", "100.0 %"):
        hold_latency(model, analysis, goal, timing, keep, lambda _: keep, NULL_LISTENER)


@pytest.mark.usefixtures("machine")
def test_a_table_of_another_device_decides_without_timing_anything_here(
    tmp_path: Path, machine: dict[str, float]
) -> None:
    model, analysis = parts()
    path = tmp_path / "device.json"
    path.write_text(json.dumps(profile_here(model, analysis, Device(2))))
    calls = machine["calls"]
    result = prune(tmp_path / "a.onnx", latency="60%", latency_table=path, round_to=None)
    assert machine["calls"] == calls
    assert result.plan.request["round_to"] == BLOCK
    assert result.plan.reached["latency"] <= 0.6
    assert any("2 threads" in note for note in result.notes)


def test_a_latency_without_a_latency_model_is_refused() -> None:
    model, analysis = parts()
    statistics = scoring.collect(analysis, None, "l1")
    scores = scoring.score(analysis, statistics, "l1")
    budget = onnxprune.Budget(latency=read_amount(0.5, {}))
    with refused("missing-option", "latency table"):
        plans.plan(model, analysis, scores, budget, "l1")
