"""The benchmark of the promise end to end on a sample model, without the shared folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command, promise


def test_draws_are_pruned_and_judged_by_all_other_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "limit_threads", lambda count: None)
    monkeypatch.setattr(promise, "STEPS", (0.9, 0.02))
    pruned = vars(promise)["_pruned"]
    monkeypatch.setattr(promise, "_pruned", lambda *args, **more: pruned(*args, **more, method="l1", recovery="fold"))
    arguments = [
        str(tmp_path), "--cache", str(tmp_path), "--nets", "digits_resnet,imagenet_lite0", "--counts", "400,120",
        "--draws", "1", "--images", "new,training", "--max-drop", "5", "--page", str(tmp_path / "p.md"),
    ]  # fmt: skip
    promise.main(arguments)
    rows: list[dict[str, Any]] = [json.loads(line) for line in (tmp_path / "promise.jsonl").read_text().splitlines()]
    kinds = [(row["images"], row["count"], row["state"]) for row in rows]
    assert kinds == [
        ("new", 120, "held"), ("new", 120, "oracle"), ("training", 120, "held"), ("training", 120, "oracle"),
    ]  # fmt: skip
    assert [row.get("judged_on") for row in rows] == [330, None, 450, None]
    assert [row.get("shown_on") for row in rows] == [60, None, 60, None]
    assert rows[1]["macs"] == pytest.approx(0.85, abs=0.06)
    text = (tmp_path / "p.md").read_text()
    assert "1 held results from new images lost more than allowed" in text
    assert "| digits_resnet | training | 120 | held | 1 of 1 |" in text
    monkeypatch.setattr(promise, "_pruned", lambda *args, **more: pytest.fail("measured again"))
    promise.main(arguments)


def test_images_that_judge_are_no_calibration_images(tmp_path: Path) -> None:
    net = promise.open_net("digits_convnet", tmp_path, tmp_path)
    assert net is not None
    found = promise.parts(net, "new", 100, 3)
    assert found is not None
    given, rest = ({image.tobytes() for image in part["x"]} for part in found)
    assert not given & rest
    assert len(found[0]["y"]) + len(found[1]["y"]) == 450
    assert promise.parts(net, "new", 400, 0) is None, "too few would judge"
