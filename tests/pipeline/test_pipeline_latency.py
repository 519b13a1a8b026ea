"""Budgets of latency on a machine that is made up: tables, what is chosen by them, and how the result is held to them.

The machine fills its kernels in blocks of 8 channels, so that timing takes no time and says the same every time.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.analysis.analyse import analyse
from onnxprune.errors import InputError, UnreachableError
from onnxprune.graph import loaded
from onnxprune.graph.model import read_graph
from onnxprune.latency import board
from onnxprune.latency.profile import Device, knots, pack, profile_here, read_latency, table_of, width_block
from onnxprune.pipeline import opening
from onnxprune.pipeline.planning import plans, scoring
from onnxprune.pipeline.planning.latency import hold_latency, settle_timing
from onnxprune.selection.goal import Goal
from onnxprune.surgery.cut import cut
from onnxprune.values.amount import read_amount
from onnxprune.values.progress import silent

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
RESNET = SAMPLES / "digits_resnet.onnx"
CALIB = SAMPLES / "calib"

BLOCK = 8


def filled(width: int) -> int:
    return BLOCK * -(-width // BLOCK)


def micros(model: onnx.ModelProto) -> float:
    """Return what the machine takes: a microsecond for every thousand multiply-adds of full blocks, and more."""
    analysis = analyse(read_graph(model))
    taken = 5.0
    for term in analysis.costs.macs:
        node = model.graph.node[term.node]
        shape = analysis.graph.facts.known[node.input[1]].first.shape
        rest = term.factor * np.prod([analysis.costs.widths[axis] for axis in term.axes]) / np.prod(shape)
        taken += rest * filled(shape[0]) * filled(shape[1]) * np.prod(shape[2:]) / 1000
    return float(taken)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, float]:
    """Have the made-up machine time everything; `off` is by how much whole networks take longer than it says."""
    state = {"off": 1.0, "calls": 0.0}
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path / "cache"))

    def time_one(path: str, whole: bool) -> dict[str, float]:
        model = onnx.load(path)
        kept = any("cut" in entry.key for entry in model.metadata_props)
        taken = micros(model) * (state["off"] if whole and "0/model" not in path and not kept else 1.0)
        return {"median": taken, "p10": taken, "p90": taken, "runs": 5}

    def run(
        read: Callable[[str], str],
        told: Callable[[int, int], None],
        jobs: Sequence[Mapping[str, Any]],
        *_: Any,
    ) -> dict[str, dict[str, float]]:
        state["calls"] += len(jobs)
        return {job["id"]: time_one(read(job["file"]), False) for job in jobs}

    monkeypatch.setattr(board, "run", run)
    monkeypatch.setattr(board, "time_whole", lambda models, *_: [time_one(model, True) for model in models])
    return state


def parts() -> tuple[loaded.Model, Any]:
    model = loaded.load(RESNET)
    return model, opening.inspect(model)


def prune(output: Path, **more: Any) -> onnxprune.Result:
    settings = {"preprocess": "unit", "method": "l1", "recovery": "none", "force": True, "round_to": 1, **more}
    return onnxprune.prune(RESNET, CALIB, output=output, **settings)


def share(result: onnxprune.Result) -> float:
    assert result.output is not None
    return micros(onnx.load(result.output)) / micros(onnx.load(RESNET))


@pytest.mark.parametrize("least", [1, 3, 7, 13])
@pytest.mark.parametrize("size", [2, 8, 16, 24, 40, 64, 100, 512])
def test_the_widths_that_are_timed_reach_from_the_least_to_the_whole(size: int, least: int) -> None:
    found = knots(size, min(least, size))
    assert found[-1] == size
    assert found[0] <= max(least, 16)
    assert sorted(set(found)) == list(found)
    assert len(found) <= 8


@pytest.mark.usefixtures("machine")
def test_the_block_is_found_once(machine: dict[str, float]) -> None:
    assert width_block(Device())[0] == BLOCK
    calls = machine["calls"]
    assert width_block(Device())[0] == BLOCK
    assert machine["calls"] == calls > 0
    width_block(Device(threads=3))
    assert machine["calls"] > calls


def test_the_table_foretells_networks_that_were_not_timed(machine: dict[str, float]) -> None:
    model, analysis = parts()
    table = table_of(profile_here(model, analysis, Device()), analysis)
    assert table.block == BLOCK
    clock = table.clock(analysis.costs)
    rng = np.random.default_rng(0)
    for _ in range(10):
        kept = {group.name: int(rng.integers(max(1, group.size // 8), group.size + 1)) for group in analysis.prunable}
        masks = {group.name: np.arange(group.size) < kept[group.name] for group in analysis.prunable}
        proto = cut(analysis, masks).model
        assert 1000 * clock(analysis.costs.widths_at(kept)) == pytest.approx(micros(proto), rel=0.12)


def test_what_was_timed_is_kept(machine: dict[str, float]) -> None:
    model, analysis = parts()
    first = profile_here(model, analysis, Device())
    calls = machine["calls"]
    assert profile_here(model, analysis, Device()) == first
    assert machine["calls"] == calls
    profile_here(model, analysis, Device(), anew=True)
    assert machine["calls"] == 2 * calls


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
    assert any("Foretold latency" in note for note in result.notes)


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
def test_what_cannot_be_met_is_refused_before_the_data_are_opened(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"cannot be met on this machine: .*\d+\.\d% of the original"):
        onnxprune.prune(RESNET, tmp_path / "no such folder", method="l1", latency="1%", output=tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.usefixtures("machine")
def test_policy_latency_has_the_network_timed_whatever_the_budget(tmp_path: Path) -> None:
    result = prune(tmp_path / "a.onnx", macs=0.5, policy="latency")
    assert result.plan.reached["macs"] <= 0.5
    assert result.plan.reached["latency"] < 1


def test_nothing_held_is_refused_with_what_was_reached(machine: dict[str, float]) -> None:
    model, analysis = parts()
    goal = Goal(onnxprune.Budget(latency=read_amount("60%", {})), 1)
    analysis, goal, timing = settle_timing(model, analysis, goal, None, Device(), silent, lambda *_: None)
    keep = {group.name: np.ones(group.size, dtype=bool) for group in analysis.prunable}
    with pytest.raises(UnreachableError, match=r"60% was not met: what was chosen takes 100\.0%"):
        hold_latency(model, analysis, goal, timing, keep, lambda _: keep, lambda *_: None)


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


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "is no latency table"),
        ({"format": 99}, "another version"),
        ({"model": "0"}, "made for another model"),
        ({"groups": {}}, "another --allow"),
        ({"times": {}}, "is damaged"),
        ({"layers": [{"node": 0}]}, "is damaged"),
    ],
)
def test_tables_that_will_not_do_are_refused(tmp_path: Path, change: dict[str, Any] | None, said: str) -> None:
    model, analysis = parts()
    path = tmp_path / "device.json"
    content = {**profile_here(model, analysis, Device()), **(change or {})}
    path.write_text("[]" if change is None else json.dumps(content))
    with pytest.raises(InputError, match=said):
        read_latency(path, model, analysis)


def test_a_latency_without_a_clock_is_refused() -> None:
    model, analysis = parts()
    statistics = scoring.collect(analysis, None, "l1")
    scores = scoring.score(analysis, statistics, "l1")
    budget = onnxprune.Budget(latency=read_amount(0.5, {}))
    with pytest.raises(InputError, match="latency takes a latency table"):
        plans.plan(model, analysis, scores, budget, "l1")


def test_the_packed_file_holds_all_that_is_timed(tmp_path: Path) -> None:
    model, analysis = parts()
    path = tmp_path / "board.pyz"
    count = pack(model, analysis, path)
    assert count > 50
    assert [file.name for file in tmp_path.iterdir()] == ["board.pyz"]
    assert path.read_bytes().startswith(b"#!/usr/bin/env python3")
