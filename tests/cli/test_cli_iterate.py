import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from places import CALIB, RESNET, TEST
from program import Ended, call, few, refused, save_images

from onnxprune.pipeline import iterate as iterating
from onnxprune.pipeline.config.jobs import IterateConfig
from onnxprune.pipeline.iterate import Iterations, part
from onnxprune.selection.budget import Budget

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


def test_a_method_without_a_threshold_takes_a_budget(tmp_path: Path) -> None:
    refused(iterate(tmp_path / "a.onnx"), "reconstruction", "--macs", "class-aware, entropy")


STEM = "/stem_conv/Conv_output_0"
INNER, INNER2 = "/stage1/stage1.0/conv1/Conv_output_0", "/stage2/stage2.0/conv1/Conv_output_0"


def plans(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.plan.json"))]


def test_single_layers_are_steered_by_the_widths_of_the_original(tmp_path: Path) -> None:
    """Shares of single layers and floors count from what the first iteration began with."""
    output = tmp_path / "a.onnx"
    steer = tmp_path / "steer.toml"
    steer.write_text('keep = ["stem*"]\n')
    args = ("--method", "l1", "--iterations", 2, "--floor", 100, "--min-keep", "40%", "--steer", steer)
    ended = iterate(output, *args, "--macs", "45%", "--ratio-for", "*/stage2.0/conv1/*=50%", data=few())
    assert ended.code == 0, ended.stderr
    found = plans(tmp_path / "a.iterations")
    assert len(found) == 2
    widths = [{name: (group["size"], group["kept"]) for name, group in plan["groups"].items()} for plan in found]
    assert all(width[STEM][0] == width[STEM][1] for width in widths)
    assert widths[0][INNER2] == (48, 33), "half of it in two equal ratios"
    assert widths[1][INNER2] == (33, 24), "of the 48 that there were"
    for name, (size, _) in widths[0].items():
        assert widths[1][name][1] >= 0.4 * size, "a floor of the original's width"
    assert min(widths[1][name][1] / size for name, (size, _) in widths[0].items()) < 0.6
    assert found[0]["request"]["keep"] == ["stem*"]
    other = iterate(output, *args, "--macs", "45%", "--resume", data=few())
    assert "of another run (other single layers)" in other.sentence


def test_single_layers_alone_are_cut_until_they_have_their_share(tmp_path: Path) -> None:
    args = (
        "--method",
        "l1",
        "--iterations",
        4,
        "--floor",
        100,
        "--round-to",
        8,
        "--ratio-for",
        "*/stage1.0/conv1/*=50%",
    )
    ended = iterate(tmp_path / "a.onnx", *args, "--keep", "stem*", data=few())
    assert ended.code == 0, ended.stderr
    assert "What was asked of single layers was reached." in ended.stdout
    found = plans(tmp_path / "a.iterations")
    sizes = [(plan["groups"][INNER]["size"], plan["groups"][INNER]["kept"]) for plan in found]
    assert sizes == [(32, 24), (24, 16)], "steps that round to what is there already are left out"
    cut = {name for plan in found for name, group in plan["groups"].items() if group["kept"] < group["size"]}
    assert cut == {INNER}


def test_the_policy_is_that_of_every_iteration(tmp_path: Path) -> None:
    args = ("--method", "l1", "--macs", "50%", "--iterations", 2, "--floor", 100, "--policy", "uniform")
    assert iterate(tmp_path / "a.onnx", *args, data=few()).code == 0
    found = plans(tmp_path / "a.iterations")
    assert [plan["request"]["policy"] for plan in found] == ["uniform", "uniform"]
    for plan in found:
        shares = [group["kept"] / group["size"] for group in plan["groups"].values()]
        assert max(shares) - min(shares) < 0.1
    other = iterate(tmp_path / "a.onnx", *args[:-1], "global", "--resume", data=few())
    assert "of another run (other policy)" in other.sentence


def test_the_file_that_steers_is_not_overwritten(tmp_path: Path) -> None:
    steer = tmp_path / "steer.toml"
    steer.write_text('keep = ["stem*"]\n')
    ended = iterate(steer, "--method", "l1", "--macs", "50%", "--steer", steer, data=few())
    assert ended.code == 2
    assert "would overwrite the configuration" in ended.sentence


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = ("--method", "l1", "--macs", "20%", "--iterations", 3, "--floor", 100, "-q")
    assert iterate(tmp_path / "whole.onnx", *args, data=few()).code == 0
    runs = []
    plain = vars(iterating)["prune"]

    def interrupted(*more: object) -> object:
        runs.append(1)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return plain(*more)

    with monkeypatch.context() as patch:
        patch.setattr(iterating, "prune", interrupted)
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
    assert "The data of --data are others" in elsewhere.sentence


def test_an_iteration_under_the_floor_is_undone(tmp_path: Path) -> None:
    ended = iterate(
        tmp_path / "a.onnx", "--method", "l1", "--macs", "0.4%", "--min-keep", "1%", "--iterations", 2, "--floor", 5,
        "--lr", 1e-6, "--json",
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert [one["kept"] for one in found["iterations"]] == [True, False]
    assert "Iteration 2 was undone" in found["ended"]
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "a.iterations" / "001.onnx").read_bytes()
    assert not (tmp_path / "a.iterations" / "002.onnx").exists()


def test_the_floor_is_held_on_the_data_that_is_given_for_it(tmp_path: Path) -> None:
    """A net looks better than it is on what it was trained on: here half of the labels are wrong."""
    val, images = tmp_path / "val", sorted(TEST.glob("*/*"))
    for number, image in enumerate(images):
        label = (int(image.parent.name) + number % 2) % 10
        (val / str(label)).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, val / str(label) / f"{number}{image.suffix}")
    args = ("--method", "l1", "--macs", "50%", "--iterations", 1, "--floor", 5)
    ended = iterate(tmp_path / "a.onnx", *args, "--val", val, "--test", TEST, "--json", data=few())
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["before"] == pytest.approx(0.5, abs=0.02)
    assert found["quality"]["before"]["top1"] > 0.95
    assert found["quality"]["samples"] == len(images)
    other = iterate(tmp_path / "a.onnx", *args, "--val", TEST, "--resume", data=few())
    assert "The data of --data or --val are others" in other.sentence
    unlabelled = iterate(tmp_path / "b.onnx", *args, "--val", val / "0", data=few())
    assert (unlabelled.code, "data of --val have none" in unlabelled.sentence) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.iterations", "a.onnx", "val"]


def test_a_threshold_decides_by_itself_when_it_is_enough(tmp_path: Path) -> None:
    ended = iterate(
        tmp_path / "a.onnx", "--method", "class-aware", "--score", "gradient", "--alpha", 1.5, "--option", "cap=1",
        "--floor", 100, "--l1", 1e-4, "--orthogonal", 1e-2, data=few(),
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    assert "No channel is below the threshold of class-aware." in ended.stdout
    assert len(list((tmp_path / "a.iterations").glob("*.onnx"))) >= 1


def test_a_run_without_labels_is_refused(tmp_path: Path) -> None:
    flat = tmp_path / "images"
    flat.mkdir()
    for image in list(CALIB.rglob("*.png"))[:40]:
        (flat / f"{image.parent.name}-{image.name}").write_bytes(image.read_bytes())
    ended = iterate(tmp_path / "a.onnx", "--method", "l1", "--macs", "50%", data=flat)
    assert ended.code == 2
    assert "data of --data have none" in ended.sentence
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
        (("--val", "nowhere"), 2, "nowhere"),
        (("--val", str(TEST), "--holdout", "20%"), 2, "--holdout has no say"),
        (("--val", "DATA"), 2, "cannot hold the floor"),
        (("--augment", "mixup"), 2, "no augmentation 'mixup'"),
        (("--device", "tpu"), 2, "--device"),
        (("--macs", "0.000001%", "--iterations", "1"), 1, "cannot be met"),
        (("--macs", "0%"), 2, "--macs is a share above 0"),
        (("--macs", "20%", "--min-keep", "90%"), 1, "cannot be met"),
        (("--keep", "sterm*"), 2, "'sterm*' fits no layer or weight of this model"),
        (("--ratio-for", "stem"), 2, "write it as 'layer3.*=70%'"),
        (("--policy", "best"), 2, "best"),
        (("--steer", "nowhere.toml"), 2, "There is no file 'nowhere.toml' to read options from"),
    ],
)
def test_what_cannot_be_leaves_no_work_folder(tmp_path: Path, args: tuple[str, ...], code: int, said: str) -> None:
    told = [str(few()) if arg == "DATA" else arg for arg in args]
    ended = iterate(tmp_path / "a.onnx", "--method", "l1", "--macs", "50%", *told, data=few())
    assert ended.code == code
    assert said in ended.sentence or "GPU" in ended.sentence
    assert not list(tmp_path.iterdir())


def test_a_work_folder_that_is_something_else_is_refused(tmp_path: Path) -> None:
    data = save_images(tmp_path / "data", 4)
    args = ("--method", "l1", "--macs", "50%")
    for place, said in (
        (tmp_path / "a.onnx", "would both be"),
        (data, "part of the sample data"),
        (data / "w", "data"),
    ):
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
    quality = SimpleNamespace(steps=(), after=SimpleNamespace(top1=9 / 60))
    result: Any = SimpleNamespace(
        quality=quality, after=SimpleNamespace(macs=1, params=1), plan=SimpleNamespace(removed=1)
    )
    original: Any = SimpleNamespace(proto=onnx.load(RESNET))
    facts = vars(iterating)["_facts"]
    for floor, kept in ((0.05, True), (0.049, False)):
        job = IterateConfig(str(RESNET), data=str(RESNET), floor=floor)
        assert facts(job, Iterations({}, before=12 / 60), 1, original, 1, result, 0.0).kept is kept


def test_an_undone_model_goes_with_its_data_files(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    onnx.save(onnx.load(RESNET), path, save_as_external_data=True, location="a.bin", size_threshold=0)
    vars(iterating)["_remove"](path)
    assert not list(tmp_path.iterdir())


def test_a_run_with_other_groups_is_another_run() -> None:
    facts, model = vars(iterating)["_run_facts"], SimpleNamespace(digest="digest")
    one, other = (IterateConfig(str(RESNET), data=str(RESNET), allow=value) for value in ("exact", "approximate"))
    assert facts(one, one.pruning.goal, model) != facts(other, other.pruning.goal, model)


def test_data_that_are_not_there_are_said_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(*_: object) -> None:
        raise AssertionError("timed before the data were looked for")

    monkeypatch.setattr("onnxprune.pipeline.iterate.with_width_block", timed)
    refused(call("iterate", RESNET, "--data", tmp_path / "nope"), "There is no file or folder", "nope")
