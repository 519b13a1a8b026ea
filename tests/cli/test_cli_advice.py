"""What was hardly meant is answered with what may have been."""

import shutil
from pathlib import Path

import pytest
from places import CALIB, TEST
from program import prune


@pytest.mark.parametrize(
    ("flags", "meant"),
    [
        (("--method", "entorpy"), "entropy"),
        (("--policy", "los"), "loss"),
        (("--preprocess", "imagnet"), "imagenet"),
        (("--recover", "refitt"), "refit"),
        (("--budget", "mac=50%"), "macs"),
        (("--branches", "neve"), "never"),
    ],
)
def test_a_name_that_is_not_known_is_met_with_the_nearest(tmp_path: Path, flags: tuple[str, ...], meant: str) -> None:
    ended = prune(tmp_path / "a.onnx", "--macs", "50%", *flags)
    assert ended.code == 2
    assert f"did you mean '{meant}'?" in ended.sentence


def test_a_folder_of_train_and_val_is_no_folder_of_classes(tmp_path: Path) -> None:
    for name, source in (("train", CALIB), ("val", TEST)):
        shutil.copytree(source, tmp_path / "data" / name)
    ended = prune(tmp_path / "a.onnx", "--macs", "50%", data=tmp_path / "data")
    assert ended.code == 2
    assert "holds the parts of a data set (train, val) and no classes" in ended.sentence
    assert f"such as '{tmp_path / 'data' / 'train'}', and another with --test" in ended.sentence


def test_a_latency_without_a_unit_that_is_no_limit_was_meant_as_a_share(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", "--latency", "60", "--threads", 1)
    assert ended.code == 2
    assert "--latency 60 ms is above today's 0." in ended.sentence
    assert ended.sentence.endswith("for a share write 60%.")


def test_a_size_is_answered_in_its_unit(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", "--size", "5kB")
    assert ended.code == 1
    assert "The budget of 5 kB of the file's size cannot be met" in ended.sentence
    assert " kB are left; ask for at least that." in ended.sentence
