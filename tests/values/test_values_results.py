"""Results are plain values, and what programs read of them keeps its names."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from onnxprune.values.data import DataSummary
from onnxprune.values.outcome import Figures, Quality
from onnxprune.values.plan import GroupPlan, Plan
from onnxprune.values.results import Finetuned, Iterated, Iteration, LayerTime, NetworkTime, Profiled, Result
from onnxprune.values.training import Epoch

DATA = DataSummary(24, 6, skipped=("broken.png",))
QUALITY = Quality("6 samples of 'data'", 6)
EPOCHS = (Epoch(0, None, 2.0, 0.5), Epoch(1, 1.5, 1.0, 0.75, 0.1, 3.0))


def result(**more: Any) -> Result:
    plan = Plan("a.onnx", "0" * 64, "l2", {}, {"macs": 0.5}, {"macs": 0.4}, {"g": GroupPlan(4, (1,), ("g",))})
    return Result(Path("a.onnx"), (), plan, DATA, Figures(10, 20.0, 30, 4), **more)


def test_the_names_of_a_result_in_json() -> None:
    found = result(output=Path("b.onnx")).to_json()
    assert list(found) == [
        "version", "format", "model", "output", "plan", "labels", "curve", "method", "options", "requested", "reached",
        "before", "after", "foreseen", "layers", "quality", "promise", "speedup", "single_speedup", "measures",
        "quantized", "verification", "opinion", "groups", "frozen", "recovery", "classes", "search", "skipped",
        "warnings", "notes",
    ]  # fmt: skip
    assert (found["output"], found["plan"], found["skipped"]) == ("b.onnx", None, ["broken.png"])
    assert found["groups"] == {"g": {"size": 4, "kept": 3}}


def test_what_was_written_is_named() -> None:
    found = result(output=Path("b.onnx"), curve_output={"csv": Path("c.csv")})
    assert found.written == {"Model": Path("b.onnx"), "Curve (csv)": Path("c.csv")}
    assert result().written == {}


def test_a_training_in_json() -> None:
    found = Finetuned(Path("a.onnx"), None, {"epochs": 1}, EPOCHS, EPOCHS[1], DATA, QUALITY).to_json()
    assert list(found) == [
        "version", "model", "teacher", "output", "recipe", "history", "best", "quality", "skipped", "warnings", "notes",
    ]  # fmt: skip
    assert found["best"] == 1
    assert list(found["history"][0]) == ["number", "loss", "validation_loss", "top1", "rate", "seconds"]


def test_iterations_in_json() -> None:
    one = Iteration(1, 0.5, 0.6, 8, 0.7, 0.8, 0.9, True, 2.0)
    found = Iterated(
        Path("a.onnx"), "l2", 0.95, (one,), "done", QUALITY, DATA, Path("b.onnx"), Path("work"), True
    ).to_json()
    assert list(found) == [
        "version", "model", "output", "method", "before", "iterations", "ended", "quality", "notes",
    ]  # fmt: skip
    assert list(found["iterations"][0]) == [field.name for field in fields(Iteration)]


def test_timings_in_json() -> None:
    network = NetworkTime(100.0, 1.0, 2.0, 1.9, 2.1, 2.05)
    found = Profiled(Path("t.json"), "cpu", {}, 8, 0.01, (LayerTime("a", 2.0, 1.0),), (network,)).to_json()
    assert list(found) == ["table", "machine", "block", "noise", "layers", "wholes"]
    assert found["layers"] == [{"name": "a", "whole_ms": 2.0, "narrowest_ms": 1.0}]
    assert list(found["wholes"][0]) == ["macs", "median_ms", "p10_ms", "p90_ms", "predicted_ms"]


@pytest.mark.parametrize(("epoch", "score"), [(EPOCHS[0], (0.5, -2.0)), (Epoch(1, 1.0, 3.0, None), (-1.0, -3.0))])
def test_the_score_of_an_epoch(epoch: Epoch, score: tuple[float, float]) -> None:
    assert epoch.score == score
