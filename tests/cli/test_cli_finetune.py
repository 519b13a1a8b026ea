import io
import json
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from folders import names
from places import CALIB, CONVNET, RESNET, TEST
from program import call, few, prune
from rich.console import Console

from onnxprune.cli.exits import guarded
from onnxprune.cli.training import TrainingTable
from onnxprune.pipeline.events import BatchTrained

pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that lost much: cut far and not recovered."""
    output = tmp_path_factory.mktemp("small") / "small.onnx"
    assert (
        prune(
            output, "--method", "entropy", "--variant", "map", "--macs", "4%", "--round-to", "1", "--recover", "none"
        ).code
        == 0
    )
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
    assert names(tmp_path) == ["trained.onnx"]
    one, other = onnx.load(small), onnx.load(output)
    assert one.graph.node == other.graph.node
    assert [tensor.name for tensor in one.graph.initializer] == [tensor.name for tensor in other.graph.initializer]
    assert "onnxprune.finetuned" in {entry.key for entry in other.metadata_props}


def test_it_is_the_model_that_is_compared_with_and_not_its_teacher(tmp_path: Path, small: Path) -> None:
    args = ("finetune", small, "--data", TEST, "--teacher", RESNET, "--preprocess", "unit", "--epochs", 1)
    ended = call(*args, "-o", tmp_path / "a.onnx", "--json")
    found = json.loads(ended.stdout)
    before = found["quality"]["before"]["top1"]
    assert before == pytest.approx(found["history"][0]["top1"])
    assert before < 0.5


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
    answers = call(*args, "--teacher", RESNET, "--epochs", 1, "--batch-size", 32, "--match", "answers", "--json")
    assert json.loads(answers.stdout)["history"][0]["validation_loss"] != losses[0], (
        "blocks are what counts if not told"
    )


def test_a_teacher_without_the_models_blocks_cannot_be_followed_there(tmp_path: Path, small: Path) -> None:
    args = ("finetune", small, "--data", few(), "--preprocess", "unit", "-o", tmp_path / "a.onnx")
    ended = call(*args, "--teacher", CONVNET, "--match", "blocks")
    assert ended.code == 2
    assert "blocks" in ended.sentence


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
        (("--test", "nowhere"), "nowhere"),
        (("--tensorboard", __file__), "Cannot write logs to"),
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
    assert "epoch" not in ended.stderr, "nothing is trained for it"
    assert not list(tmp_path.iterdir())


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
    assert not list(tmp_path.iterdir())


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


def test_a_teachers_data_file_is_not_written_over(tmp_path: Path, small: Path) -> None:
    teacher, data = tmp_path / "teacher.onnx", tmp_path / "teacher.bin"
    onnx.save(onnx.load(RESNET), teacher, save_as_external_data=True, location=data.name, size_threshold=0)
    before = data.read_bytes()
    args = ("finetune", small, "--data", few(), "--teacher", teacher, "--preprocess", "unit", "--epochs", 1)
    ended = call(*args, "-o", tmp_path / "a.onnx", "--checkpoint", data)
    assert ended.code == 2
    assert "would overwrite the teacher's data file" in ended.sentence
    assert data.read_bytes() == before


def test_a_trimmed_classifier_learns_from_its_original(tmp_path: Path) -> None:
    trimmed = tmp_path / "a.onnx"
    args = ("--macs", "4%", "--round-to", 1, "--recover", "none", "--classes", "1,3,7,8", "--trim-head")
    ended = prune(trimmed, *args, "--finetune", 1, "--json", data=CALIB)
    assert ended.code == 0, ended.stderr
    assert prune(trimmed, *args, data=CALIB).code == 0
    ended = call(
        "finetune", trimmed, "--data", CALIB, "--teacher", RESNET, "--preprocess", "unit", "--epochs", 3, "--teach", 1,
        "--batch-size", 16, "--test", TEST, "-o", tmp_path / "b.onnx", "--json",
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    losses = [epoch["validation_loss"] for epoch in found["history"]]
    assert losses[found["best"]] < 0.7 * losses[0]
    assert found["quality"]["samples"] == 4 * 45


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxprune.finetune.training import loop

    plain = vars(loop)["_Training"]._epoch

    def interrupted(self: object, number: int) -> object:
        if number == 2:
            raise KeyboardInterrupt
        return plain(self, number)

    monkeypatch.setattr("onnxprune.finetune.training.loop._Training._epoch", interrupted)
    args = ("finetune", small, "--data", few(), "--preprocess", "unit", "--no-accuracy-check", "-q")
    ended = call(*args, "-o", tmp_path / "a.onnx")
    assert ended.code == 130
    assert f"is in {tmp_path / 'a.checkpoint'}, go on with --resume" in ended.sentence


def test_a_checkpoint_is_not_begun_anew_over(tmp_path: Path, small: Path) -> None:
    checkpoint = tmp_path / "a.checkpoint"
    checkpoint.write_bytes(b"hours of work")
    ended = call("finetune", small, "--data", CALIB, "-o", tmp_path / "a.onnx")
    assert ended.code == 2
    assert "is there already; go on with --resume, or remove it" in ended.sentence
    assert checkpoint.read_bytes() == b"hours of work"


def test_several_processes_do_nothing_but_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in ((), ("iterate",)):
        flags = () if command else ("--finetune", 1)
        ended = call(*command, RESNET, "--data", CALIB, *flags, "-o", tmp_path / "a.onnx")
        assert ended.code == 2
        assert "start this without torchrun" in ended.sentence


def test_threads_are_those_of_torch_too(tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from onnxprune.pipeline import finetune as finetuning
    from onnxprune.pipeline.execution.training import tune

    seen = []
    before = torch.get_num_threads()

    def watched(*args: object, **more: object) -> object:
        seen.append(torch.get_num_threads())
        return tune(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(finetuning, "tune", watched)
    args = ("--preprocess", "unit", "--threads", before + 1, "--epochs", 1, "--train", "none")
    ended = call("finetune", small, "--data", CALIB, "--no-accuracy-check", *args, "-o", tmp_path / "a.onnx")
    assert ended.code == 0, ended.stderr
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_only_the_first_of_several_processes_speaks(tmp_path: Path, small: Path) -> None:
    args = ("finetune", small, "--data", few(), "--preprocess", "unit", "--no-accuracy-check", "--epochs", 1)
    ended = call(*args, "-o", tmp_path / "a.onnx", env={"RANK": "1"})
    assert not ended.stderr


def test_a_training_that_cannot_be_is_refused_before_the_cut(tmp_path: Path) -> None:
    for args, said in (
        (("--finetune", 1, "--augment", "mixup"), "no augmentation 'mixup'"),
        (("--finetune", 1, "--dry-run"), "leave out --dry-run"),
    ):
        ended = prune(tmp_path / "a.onnx", "--macs", "50%", *args)
        assert ended.code == 2
        assert said in ended.sentence
        assert "Scores from" not in ended.stderr
    ended = call(RESNET, "--method", "l1", "--macs", "50%", "--finetune", 1, "-o", tmp_path / "a.onnx")
    assert ended.code == 2
    assert "Training takes samples" in ended.sentence
    assert not list(tmp_path.iterdir())


def test_the_time_left_of_a_resumed_run_goes_by_its_own_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxprune.values.training import Epoch

    now, shown = [0.0], list[str]()
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(TrainingTable, "_show", lambda self, line: shown.append(line))
    table = TrainingTable(Console(file=io.StringIO(), force_terminal=True))
    table.begin(100)
    for number in range(51):
        table.epoch(Epoch(number, 1.0, 1.0, None, 0.1, 9.0), best=False)
    now[0] = 10.0
    table.step(BatchTrained(51, 1, 1, 1.0, 0.1))
    assert "8:10 left" in shown[-1]  # 49 more of 10 seconds


def test_a_full_gpu_is_told_as_any_full_memory(capsys: pytest.CaptureFixture[str]) -> None:
    error = type("OutOfMemoryError", (RuntimeError,), {})

    def work() -> None:
        raise error

    assert guarded(work, debug=False) == 70
    assert "smaller --batch-size" in capsys.readouterr().err
