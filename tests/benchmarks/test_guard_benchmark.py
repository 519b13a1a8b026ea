"""The benchmark of the accuracy guard end to end on a sample model, without the shared folder."""

import json
from pathlib import Path

import pytest

from benchmarks import guard


def test_search_and_brute_force_are_compared_and_a_run_is_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "limit_threads", lambda count: None)
    pruned = vars(guard)["_pruned"]
    monkeypatch.setattr(guard, "_pruned", lambda *args, **more: pruned(*args, **more, recovery="none"))
    arguments = [
        "nowhere", "--cache", str(tmp_path), "--nets", "digits_convnet,absent", "--methods", "l1", "--plans", "5",
        "--max-drop", "5", "--page", str(tmp_path / "guard.md"),
    ]  # fmt: skip
    guard.main(arguments)
    assert "absent is not in nowhere" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "guard.jsonl").read_text().splitlines()]
    assert [row["plan"] for row in rows] == ["search", 4, 3, 2, 1, 0]
    assert rows[0]["change"] >= -0.05
    assert (rows[0]["samples"], rows[0]["test_samples"]) == (60, 450)
    assert all(row["macs"] <= row["share"] for row in rows[1:])
    best = min(row["macs"] for row in rows[1:] if row["change"] >= -0.05)
    text = (tmp_path / "guard.md").read_text()
    assert f"| digits_convnet | l1 | {100 * rows[0]['macs']:.1f} % | {100 * best:.1f} % |" in text
    assert "| - | - |" in guard.page(rows[:3], 5), "brute force is not done"
    monkeypatch.setattr(guard, "_pruned", lambda *args, **more: pytest.fail("measured again"))
    guard.main(arguments)
    assert len((tmp_path / "guard.jsonl").read_text().splitlines()) == len(rows)
