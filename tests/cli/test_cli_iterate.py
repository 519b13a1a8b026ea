import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from program import CALIB, RESNET, TEST, Ended, call, few, save_images

from onnxprune.pipeline import iterating
from onnxprune.pipeline.choosing import Budget
from onnxprune.pipeline.iterating import IterateSettings, State, part
from onnxprune.pipeline.settings import Settings

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
    elsewhere = iterate(tmp_path / "parts.onnx", *args, "--resume", data=CALIB)
    assert "The data is another" in elsewhere.sentence


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
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize(("share", "expected"), [(1.0, 0.25**0.5), (0.5, 0.5), (0.25, None), (0.2, None)])
def test_what_is_left_to_do_follows_from_what_was_done(share: float, expected: float | None) -> None:
    found = part(Budget(macs=0.25), 1 if share == 1.0 else 2, 2, share)
    assert found == (None if expected is None else Budget(macs=pytest.approx(expected)))  # type: ignore[arg-type]
    assert part(Budget(alpha=2.0), 3, 2, 0.1) == Budget(alpha=2.0)


def test_what_took_more_than_its_ratio_leaves_less_to_the_next() -> None:
    assert part(Budget(macs=0.4), 2, 30, 0.9) == Budget(macs=pytest.approx(0.4 ** (4 / 30) / 0.9))  # type: ignore[arg-type]
    assert part(Budget(macs=0.4), 30, 30, 0.41) == Budget(macs=pytest.approx(0.4 / 0.41))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--data", "nowhere"), 2, "nowhere"),
        (("--test", "nowhere"), 2, "nowhere"),
        (("--augment", "mixup"), 2, "no augmentation 'mixup'"),
        (("--device", "tpu"), 2, "--device"),
        (("--macs", "0.000001%", "--iterations", "1"), 1, "cannot be met"),
        (("--macs", "0%"), 2, "--macs is a share above 0"),
    ],
)
def test_what_cannot_be_leaves_no_work_folder(tmp_path: Path, args: tuple[str, ...], code: int, said: str) -> None:
    ended = iterate(tmp_path / "a.onnx", "--method", "l1", "--macs", "50%", *args, data=few())
    assert ended.code == code
    assert said in ended.sentence or "GPU" in ended.sentence
    assert not list(tmp_path.iterdir())


def test_a_work_folder_that_is_something_else_is_refused(tmp_path: Path) -> None:
    data = save_images(tmp_path / "data", 4)
    args = ("--method", "l1", "--macs", "50%")
    for place, said in ((tmp_path / "a.onnx", "would both be"), (data, "is not of iterations"), (data / "w", "data")):
        ended = iterate(tmp_path / "a.onnx", *args, "--work", place, data=data)
        assert ended.code == 2
        assert said in ended.sentence
        assert "remove it" not in ended.sentence
    assert not (data / "w").exists()


@pytest.mark.parametrize("text", ["null", "[]", '"x"', "{", '{"format": 1, "iterations": [], "run": []}'])
def test_a_state_that_is_none_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.iterations").mkdir()
    (tmp_path / "a.iterations" / "state.json").write_text(text)
    ended = iterate(tmp_path / "a.onnx", "--method", "l1", "--macs", "50%", "--resume", data=few())
    assert ended.code == 2
    assert "is no state of iterations" in ended.sentence


def test_a_loss_that_is_just_the_floor_is_allowed() -> None:
    settings = Settings(RESNET)
    quality = SimpleNamespace(steps=(), after=SimpleNamespace(top1=9 / 60))
    result: Any = SimpleNamespace(
        quality=quality, after=SimpleNamespace(macs=1, params=1), plan=SimpleNamespace(removed=1)
    )
    original: Any = SimpleNamespace(proto=onnx.load(RESNET))
    facts = vars(iterating)["_facts"]
    for floor, kept in ((0.05, True), (0.049, False)):
        job = IterateSettings(settings, floor=floor)
        assert facts(job, State({}, before=12 / 60), 1, original, 1, result, 0.0).kept is kept


def test_an_undone_model_goes_with_its_data_files(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    onnx.save(onnx.load(RESNET), path, save_as_external_data=True, location="a.bin", size_threshold=0)
    vars(iterating)["_remove"](path)
    assert not list(tmp_path.iterdir())


def test_a_run_with_other_groups_is_another_run() -> None:
    one, other = (IterateSettings(Settings(RESNET, approximate=value)).to_json("digest") for value in (False, True))
    assert one != other
