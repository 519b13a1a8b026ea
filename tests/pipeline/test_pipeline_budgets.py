"""Budgets of parameters and bytes beside that of MACs: all hold in what is written, impossible ones are refused."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from places import CALIB, CONVNET, RESNET
from refusals import refused

import onnxprune
from onnxprune.graph.storage.measures import count_params
from onnxprune.pipeline.execution import evaluate as evaluating
from onnxprune.values.amount import BYTES, COUNTS, Amount, read_amount


def prune(output: Path, model: Path = RESNET, **more: Any) -> onnxprune.Result:
    settings = {"preprocess": "unit", "method": "l1", "recovery": "none", "force": True, **more}
    return onnxprune.prune(model, CALIB, output=output, **settings)


@pytest.mark.parametrize("model", [RESNET, CONVNET])
@pytest.mark.parametrize(
    ("budget", "bound"),
    [
        ({"params": 0.4}, "params"),
        ({"size": "50%"}, "size"),
        ({"macs": 0.9, "params": 0.3}, "params"),
        ({"macs": 0.3, "params": 0.9, "size": 0.9}, "macs"),
        ({"macs": 0.5, "params": "40%", "size": 0.5}, None),
    ],
)
def test_all_budgets_hold_in_what_is_written(
    tmp_path: Path, model: Path, budget: dict[str, Any], bound: str | None
) -> None:
    output = tmp_path / "a.onnx"
    result = prune(output, model, round_to=1, **budget)
    assert result.after is not None
    left = {name: getattr(result.after, name) / getattr(result.before, name) for name in ("macs", "params", "size")}
    assert output.stat().st_size == result.after.size
    assert count_params(onnx.load(output)) == result.after.params
    for name, most in budget.items():
        share = most if isinstance(most, float) else float(most.rstrip("%")) / 100
        assert left[name] <= share
        if name == bound:
            assert left[name] > share - 0.15, "no more goes than has to"


def test_amounts_of_their_own_hold_and_stand_in_the_plan(tmp_path: Path) -> None:
    whole = RESNET.stat().st_size
    most = whole * 6 // 10
    result = prune(tmp_path / "a.onnx", size=f"{most}B", params="9k")
    assert result.after is not None
    assert result.after.size <= most
    assert result.after.params <= 9000
    plan = json.loads((tmp_path / "a.plan.json").read_text())
    assert plan["request"]["size"] == f"{most}B"
    assert plan["request"]["params"] == "9k"
    again = onnxprune.load_plan(tmp_path / "a.plan.json")
    assert again.request["params"] == "9k"


def test_budgets_are_shared_out_over_steps(tmp_path: Path) -> None:
    result = prune(tmp_path / "a.onnx", params=0.3, size="60%", steps=2, round_to=1)
    assert result.after is not None
    assert result.after.params <= 0.3 * result.before.params
    assert result.after.size <= 0.6 * result.before.size


@pytest.mark.parametrize(
    ("budget", "things"),
    [
        ({"params": 3}, ["of 3 of the parameters", "are left; ask for at least that"]),
        ({"size": "2kB"}, ["of the file's size"]),
        ({"size": "2kB", "params": "1%"}, ["of the parameters", "of the file's size"]),
    ],
)
def test_what_no_cut_can_reach_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: dict[str, Any], things: list[str]
) -> None:
    monkeypatch.setattr(
        "onnxprune.pipeline.planning.steps.gather", lambda *args, **more: pytest.fail("statistics were taken")
    )
    with refused("over-budget", *things):
        prune(tmp_path / "a.onnx", **budget)
    assert not list(tmp_path.iterdir())


def test_a_file_that_came_out_larger_than_foreseen_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = vars(evaluating)["file_size"]
    monkeypatch.setattr(evaluating, "file_size", lambda path, weights: size(path, weights) + 50_000)
    with refused("over-budget", "bytes"):
        prune(tmp_path / "a.onnx", size="80%")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "units", "number", "is_share"),
    [
        ("50%", BYTES, 0.5, True),
        (0.5, BYTES, 0.5, True),
        ("1", COUNTS, 1.0, True),
        ("100 %", BYTES, 1.0, True),
        ("2MB", BYTES, 2e6, False),
        ("1.5 KiB", BYTES, 1536.0, False),
        ("1,200,000", COUNTS, 1.2e6, False),
        ("1.2M", COUNTS, 1.2e6, False),
        (3000, COUNTS, 3000.0, False),
    ],
)
def test_amounts_are_shares_or_numbers_with_units(value: Any, units: Any, number: float, is_share: bool) -> None:
    found = read_amount(value, units)
    assert found.number == pytest.approx(number)
    assert found.is_share == is_share
    assert read_amount(found, units) is found


@pytest.mark.parametrize("value", ["", "many", "-3", "0", "150%", "2 miles", "nan", "inf", "1e400"])
def test_what_is_no_amount_is_said(tmp_path: Path, value: str) -> None:
    with refused("bad-value", "size="):
        prune(tmp_path / "a.onnx", size=value)


def test_an_amount_above_the_whole_is_all_of_it() -> None:
    assert Amount(30.0, False, "30").as_share(10.0) == Amount(1.0, True, "30")
    assert Amount(3.0, False, "3").as_share(12.0).of(40.0) == 10.0
