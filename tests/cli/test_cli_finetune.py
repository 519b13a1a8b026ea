import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from program import CALIB, RESNET, TEST, call, few, prune

pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that lost much: cut far and not recovered."""
    output = tmp_path_factory.mktemp("small") / "small.onnx"
    assert prune(output, "--macs", "4%", "--round-to", "1", "--recover", "none").code == 0
    return output


def test_a_cut_model_learns_from_labels_and_its_original(tmp_path: Path, small: Path) -> None:
    output = tmp_path / "trained.onnx"
    ended = call(
        "finetune", small, "--data", CALIB, "--test", TEST, "--teacher", RESNET, "--preprocess", "unit",
        "--epochs", 6, "--batch-size", 32, "--augment", "crop", "-o", output, "-v",
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    assert "epoch 0 *, validation loss" in ended.stderr
    assert ended.stderr.count("\nepoch ") == 7
    assert "Epochs (* taken)" in ended.stdout
    assert f"Model written to {output}" in ended.stdout
    assert "on 450 images under" in ended.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trained.onnx"]
    one, other = onnx.load(small), onnx.load(output)
    assert one.graph.node == other.graph.node
    assert [tensor.name for tensor in one.graph.initializer] == [tensor.name for tensor in other.graph.initializer]
    assert "onnxprune.finetuned" in {entry.key for entry in other.metadata_props}


def test_json_has_every_epoch_and_accuracy_rose(tmp_path: Path, small: Path) -> None:
    ended = call(
        "finetune", small, "--data", CALIB, "--test", TEST, "--preprocess", "unit", "--epochs", 4, "--batch-size", 32,
        "-o", tmp_path / "a.onnx", "--json", "--no-accuracy-check",
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert [epoch["number"] for epoch in found["history"]] == [0, 1, 2, 3, 4]
    assert found["recipe"]["epochs"] == 4
    assert found["history"][found["best"]]["top1"] >= max(epoch["top1"] for epoch in found["history"])
    assert found["best"] > 0


def test_without_labels_a_teacher_is_enough(tmp_path: Path, small: Path) -> None:
    flat = tmp_path / "images"
    flat.mkdir()
    for image in CALIB.rglob("*.png"):
        (flat / f"{image.parent.name}-{image.name}").write_bytes(image.read_bytes())
    args = ("finetune", small, "--data", flat, "--preprocess", "unit", "-o", tmp_path / "a.onnx")
    refused = call(*args)
    assert refused.code == 2
    assert "name it with --teacher" in refused.sentence
    ended = call(*args, "--teacher", RESNET, "--epochs", 4, "--batch-size", 32, "--json")
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    losses = [epoch["validation_loss"] for epoch in found["history"]]
    assert losses[found["best"]] < 0.7 * losses[0]
    assert found["quality"]["drift"] is not None


def test_the_main_job_can_train_what_it_cut(tmp_path: Path) -> None:
    ended = prune(
        tmp_path / "a.onnx", "--macs", "4%", "--round-to", "1", "--finetune", "3", "--augment", "crop", "--json",
        data=CALIB,
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert [step["name"] for step in found["quality"]["steps"]] == ["cut", "fold", "refit", "training"]
    assert any(note.startswith("Trained for 3 epochs on") for note in found["notes"])
    assert (tmp_path / "a.plan.json").exists()


def test_other_parts_of_the_network_stay_as_they_were(tmp_path: Path, small: Path) -> None:
    ended = call(
        "finetune", small, "--data", CALIB, "--preprocess", "unit", "--epochs", 3, "--batch-size", 32, "--train", "fc",
        "-o", tmp_path / "a.onnx", "-q", "--no-accuracy-check", "--bn", "eval",
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    one, other = (
        {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        for path in (small, tmp_path / "a.onnx")
    )
    changed = {name for name, value in one.items() if not np.array_equal(value, other[name])}
    assert changed
    assert all(one[name].ndim <= 2 for name in changed)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--lr", "-1"), "--lr has to be above 0"),
        (("--augment", "mixup"), "no augmentation 'mixup'"),
        (("--device", "cuda:7"), "--device"),
        (("--teacher", "nowhere.onnx"), "nowhere.onnx"),
        (("--resume",), "no checkpoint"),
    ],
)
def test_bad_settings_are_one_sentence(tmp_path: Path, small: Path, args: tuple[str, ...], said: str) -> None:
    ended = call(
        "finetune",
        small,
        "--data",
        few(),
        "--preprocess",
        "unit",
        "-o",
        tmp_path / "a.onnx",
        "--no-accuracy-check",
        *args,
    )
    assert ended.code == 2
    assert said in ended.sentence or "GPU" in ended.sentence
    assert not (tmp_path / "a.onnx").exists()


def test_settings_of_a_training_that_was_not_asked_for_are_refused(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", "--macs", "50%", "--lr", "0.1")
    assert ended.code == 2
    assert "ask for it with --finetune" in ended.sentence


def test_a_model_that_gets_no_better_is_not_written(tmp_path: Path) -> None:
    ended = call(
        "finetune", RESNET, "--data", few(), "--preprocess", "unit", "--epochs", 1, "--lr", "10", "--clip", "0",
        "-o", tmp_path / "a.onnx",
    )  # fmt: skip
    assert ended.code == 1
    assert "No epoch was better" in ended.sentence
    assert not (tmp_path / "a.onnx").exists()


def test_logs_for_tensorboard_are_written(tmp_path: Path, small: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    ended = call(
        "finetune", small, "--data", CALIB, "--preprocess", "unit", "--epochs", 2, "--no-accuracy-check", "-q",
        "-o", tmp_path / "a.onnx", "--tensorboard", tmp_path / "logs",
    )  # fmt: skip
    assert ended.code in (0, 1), ended.stderr
    (log,) = (tmp_path / "logs").iterdir()
    content = log.read_bytes()
    assert b"loss/training" in content
    assert b"top1/validation" in content
