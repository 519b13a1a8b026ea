"""The most that a class may lose: measured on the final result, refused with the worst class by name."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from places import RESNET, TEST
from refusals import refused

import onnxprune
from onnxprune.errors import UnreachableError
from onnxprune.pipeline.apply import apply_plan as replay
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.execution.accept import refuse_class_drop
from onnxprune.values.accuracy import Accuracy
from onnxprune.values.outcome import Quality


def pruned(data: Path | None, output: Path, limit: float | None, **more: Any) -> onnxprune.Result:
    options: dict[str, Any] = {"test": TEST, "preprocess": "unit", "macs": 0.05, **more}
    return onnxprune.prune(RESNET, data, "l1", max_class_drop=limit, output=output, **options)


def quality(*rows: tuple[int, int, int], names: tuple[str, ...] = ()) -> Quality:
    """Return what was measured, from (right before, right after, images) of each class."""
    before, after, total = zip(*rows, strict=True)
    old, new = (Accuracy(sum(right), sum(total), right, total) for right in (before, after))
    return Quality("data", sum(total), old, new, class_names=names)


def test_the_worst_class_is_named_with_its_figures() -> None:
    found = quality((90, 85, 100), (100, 80, 200), (50, 42, 50), names=("cat", "dog", "frog"))
    refuse_class_drop(found, None)
    refuse_class_drop(found, 0.16)
    with pytest.raises(UnreachableError) as refusal:
        refuse_class_drop(found, 0.159)
    assert str(refusal.value) == (
        "Class 'frog' fell from 100.0 % to 84.0 % of its 50 test images: 16.0 points, where --max-class-drop allows "
        "15.9, so nothing was written; ask for less to go, or allow more."
    )


def test_exactly_the_limit_is_allowed_and_few_images_are_said() -> None:
    refuse_class_drop(quality((10, 7, 10), (9, 10, 10)), 0.3)
    refuse_class_drop(quality((7, 7, 10), (9, 10, 10)), 0)
    with refused("loss-too-high", "Class '1'", "10 test images", "10.0 points"):
        refuse_class_drop(quality((10, 10, 10), (9, 8, 10)), 0.05)


def test_a_result_that_loses_too_much_of_a_class_is_refused(few: Path, tmp_path: Path) -> None:
    """The budget asks for the loss, --force too: the limit holds all the same, and nothing is written."""
    free = pruned(few, tmp_path / "free.onnx", None, recovery="none")
    assert free.quality is not None
    worst = free.quality.classes[0]
    assert worst.drop > 0.3
    fell = f"from {100 * worst.before:.1f} % to {100 * worst.after:.1f} %"
    with refused("loss-too-high", f"Class {worst.name!r}", fell, f"{worst.samples} test images"):
        pruned(few, tmp_path / "held.onnx", 0.3, recovery="none", force=True)
    assert not list(tmp_path.glob("held*"))
    pruned(few, tmp_path / "held.onnx", worst.drop, recovery="none")
    assert (tmp_path / "held.onnx").read_bytes() == (tmp_path / "free.onnx").read_bytes()


def test_it_is_measured_behind_the_recovery(few: Path, tmp_path: Path) -> None:
    """The cut alone loses more, see above."""
    result = pruned(few, tmp_path / "out.onnx", 0.3)
    assert result.quality is not None
    assert result.quality.classes[0].drop <= 0.3
    assert result.plan.request["max_class_drop"] == 0.3


def test_the_plan_holds_it(few: Path, tmp_path: Path) -> None:
    result = pruned(few, tmp_path / "out.onnx", 0.3)
    settings = PruneConfig(RESNET, data=few, test=TEST, output=tmp_path / "again.onnx", preprocess="unit")
    with refused("loss-too-high", "--max-class-drop", "30"):
        replay(settings, replace(result.plan, recovery={}))
    assert not list(tmp_path.glob("again*"))
    blind = replay(evolve(settings, data=None, test=None), result.plan)
    assert "No accuracy by class was measured, so the limit of 30 points is unchecked." in blind.notes


@pytest.mark.parametrize("limit", [-0.1, 5])
def test_a_limit_that_is_no_share_is_refused(few: Path, tmp_path: Path, limit: float) -> None:
    with refused("bad-value", "max_class_drop="):
        pruned(few, tmp_path / "out.onnx", limit)


def test_what_cannot_be_measured_is_refused_before_any_work(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **more: Any) -> None:
        raise AssertionError("scores were computed")

    monkeypatch.setattr("onnxprune.pipeline.planning.steps.rank", never)
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 8, 8), dtype=np.uint8))
    with refused("no-labels", "max_class_drop=", "by class"):
        pruned(tmp_path / "d.npz", tmp_path / "out.onnx", 0.05, test=None)
    with refused("no-labels"):
        pruned(None, tmp_path / "out.onnx", 0.05, test=None, preprocess=None)
    with refused("no-labels", "check_accuracy=False"):
        pruned(few, tmp_path / "out.onnx", 0.05, check_accuracy=False)


def test_a_class_that_is_not_measured_is_said_and_nothing_is_promised_of_it(few: Path, tmp_path: Path) -> None:
    test = shutil.copytree(TEST, tmp_path / "test")
    shutil.rmtree(test / "7")
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{name}\n" for name in range(10)))
    result = pruned(few, tmp_path / "out.onnx", 1.0, test=test, labels=names, recovery="none")
    assert "Nothing was measured of 7, so what classes may lose is unchecked there." in result.notes
    assert result.quality is not None
    assert result.quality.bounds["max_class_drop"] == math.inf
    assert result.promise is not None
    assert result.promise.state == "careful"
    assert any("not measured" in warning for warning in result.warnings)
    whole = pruned(few, tmp_path / "whole.onnx", 1.0, recovery="none")
    assert whole.quality is not None
    assert whole.quality.bounds["max_class_drop"] < 1.0
