import json
from pathlib import Path

import onnx
import pytest
from program import CALIB, RESNET, TEST, Ended, call, few

from onnxprune.pipeline.choosing import Budget
from onnxprune.pipeline.iterating import part

pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

ARGS = ("--preprocess", "unit", "--round-to", 1, "--epochs", 1, "--batch-size", 32)


def iterate(output: Path, *args: object, data: Path = CALIB) -> Ended:
    return call("iterate", RESNET, "--data", data, *ARGS, "-o", output, *args)


def test_a_budget_is_reached_in_equal_ratios(tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    ended = iterate(
        output, "--method", "catro", "--macs", "8%", "--iterations", 3, "--test", TEST, "--floor", 50, "--json"
    )
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    left = [one["macs"] for one in found["iterations"]]
    assert len(left) == 3
    for number, share in enumerate(left, 1):
        assert 0.9 * 0.08 ** (number / 3) < share <= 0.08 ** (number / 3) + 1e-9
    assert all(one["kept"] and one["cut"] is not None and one["recovered"] is not None for one in found["iterations"])
    assert "8.0 % of the MACs was reached" in found["ended"]
    assert found["quality"]["samples"] == 450
    last = (tmp_path / "small.iterations" / "003.onnx").read_bytes()
    assert output.read_bytes() == last
    onnx.checker.check_model(onnx.load(output), full_check=True)


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = ("--method", "l1", "--macs", "20%", "--iterations", 3, "--floor", 100, "-q")
    assert iterate(tmp_path / "whole.onnx", *args, data=few()).code == 0
    from onnxprune.pipeline import iterating

    runs = []
    plain = vars(iterating)["run"]

    def interrupted(*more: object) -> object:
        runs.append(1)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return plain(*more)

    with monkeypatch.context() as patch:
        patch.setattr(iterating, "run", interrupted)
        assert iterate(tmp_path / "parts.onnx", *args, data=few()).code != 0
    assert not (tmp_path / "parts.onnx").exists()
    again = iterate(tmp_path / "parts.onnx", *args, data=few())
    assert again.code == 2
    assert "go on with --resume, or remove it" in again.sentence
    other = iterate(tmp_path / "parts.onnx", *args, "--epochs", 2, "--resume", data=few())
    assert "of another run (other training)" in other.sentence
    assert iterate(tmp_path / "parts.onnx", *args, "--resume", data=few()).code == 0
    assert (tmp_path / "parts.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()


def test_an_iteration_under_the_floor_is_undone(tmp_path: Path) -> None:
    ended = iterate(
        tmp_path / "a.onnx", "--method", "l1", "--macs", "0.4%", "--iterations", 2, "--floor", 5, "--lr",
        1e-6, "--json",
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert [one["kept"] for one in found["iterations"]] == [True, False]
    assert "Iteration 2 was undone" in found["ended"]
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "a.iterations" / "001.onnx").read_bytes()
    assert not (tmp_path / "a.iterations" / "002.onnx").exists()


def test_a_threshold_decides_by_itself_when_it_is_enough(tmp_path: Path) -> None:
    ended = iterate(
        tmp_path / "a.onnx", "--method", "class-aware", "--score", "gradient", "--alpha", 1.5, "--option", "cap=1",
        "--floor", 100, "--l1", 1e-4, "--orthogonal", 1e-2, data=few(),
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    assert "Nothing was pruned" in ended.stdout
    assert len(list((tmp_path / "a.iterations").glob("*.onnx"))) >= 1


def test_a_run_without_labels_is_refused(tmp_path: Path) -> None:
    flat = tmp_path / "images"
    flat.mkdir()
    for image in list(CALIB.rglob("*.png"))[:40]:
        (flat / f"{image.parent.name}-{image.name}").write_bytes(image.read_bytes())
    ended = iterate(tmp_path / "a.onnx", "--method", "l1", "--macs", "50%", data=flat)
    assert ended.code == 2
    assert "need labels" in ended.sentence
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(("share", "expected"), [(1.0, 0.25**0.5), (0.5, 0.5), (0.25, None), (0.2, None)])
def test_what_is_left_to_do_follows_from_what_was_done(share: float, expected: float | None) -> None:
    found = part(Budget(macs=0.25), 1 if share == 1.0 else 2, 2, share)
    assert found == (None if expected is None else Budget(macs=pytest.approx(expected)))  # type: ignore[arg-type]
    assert part(Budget(alpha=2.0), 3, 2, 0.1) == Budget(alpha=2.0)
