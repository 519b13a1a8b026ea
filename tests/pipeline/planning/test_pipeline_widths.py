"""Budgets are met from below, and closely; where blocks are too wide for that, it is said."""

from pathlib import Path

import pytest
from places import CONVNET, RESNET

import onnxprune


@pytest.mark.parametrize("model", [CONVNET, RESNET], ids=["convnet", "resnet"])
@pytest.mark.parametrize("macs", [0.7, 0.5, 0.3])
@pytest.mark.parametrize("block", [8, 16])
def test_at_most_three_points_below_a_budget_are_left(tmp_path: Path, model: Path, macs: float, block: int) -> None:
    result = onnxprune.prune(model, None, "l2", macs=macs, round_to=block, dry_run=True, output=tmp_path / "a.onnx")
    assert macs - 0.03 <= result.plan.reached["macs"] <= macs
    assert not any("are left where" in note for note in result.notes)


def test_where_the_next_block_is_too_wide_that_is_said(tmp_path: Path) -> None:
    keep = onnxprune.Steering(keep=("/conv3/*", "/hidden/*", "/conv1/*"))
    result = onnxprune.prune(
        CONVNET, None, "l2", macs=0.7, round_to=32, steering=keep, dry_run=True, output=tmp_path / "a.onnx"
    )
    assert result.plan.reached["macs"] < 0.67
    (said,) = [note for note in result.notes if "are left where" in note]
    assert "of the MACs are left where 70.0 % were asked for, as the next width of '/conv2/Conv_output_0', 64" in said
    assert said.endswith("--round-to 1 comes closer.")
    fine = onnxprune.prune(
        CONVNET, None, "l2", macs=0.7, round_to=1, steering=keep, dry_run=True, output=tmp_path / "b.onnx"
    )
    assert 0.67 <= fine.plan.reached["macs"] <= 0.7
