"""The training loop: it learns, keeps the best epoch, stops when it should, and goes on where it was stopped."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from refusals import refused
from training_nets import CONVNET, PLAIN, graph, samples, task
from training_nets import model as model_of

from onnxprune.finetune.training.recipe import Recipe
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.save import write_model

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from onnxprune.finetune.interpreter.export import trained_model  # noqa: E402
from onnxprune.finetune.interpreter.parameters import trained_constants  # noqa: E402
from onnxprune.finetune.training.checkpoint import CHECKPOINT  # noqa: E402
from onnxprune.finetune.training.loop import Nobody, Trained, train  # noqa: E402
from onnxprune.finetune.training.objective import orthogonality  # noqa: E402
from onnxprune.finetune.training.processes import Processes  # noqa: E402
from onnxprune.values.training import Epoch  # noqa: E402

ALONE = Processes(0, 1, torch.device("cpu"))
RECIPE = Recipe(epochs=6, batch=16, rate=0.1, decay=1e-4)


class StopsAfter(Nobody):
    """Interrupts the run when an epoch is done, or in the middle of the next."""

    def __init__(self, epoch: int, step: int = 0) -> None:
        self.last, self.steps = epoch, step

    def epoch(self, epoch: Epoch, *, best: bool) -> None:
        self.seen = epoch.number

    def step(self, epoch: int, done: int, steps: int, loss: float, rate: float) -> None:
        if epoch == self.last + 1 and done > self.steps:
            raise KeyboardInterrupt


def values(found: Trained) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in found.module.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("text", [CONVNET, PLAIN], ids=["with normalisation", "without"])
def test_a_net_learns(text: str, optimizer: str) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.01
    found = train(task(text), replace(RECIPE, optimizer=optimizer, rate=rate), ALONE)  # type: ignore[arg-type]
    first, *rest = found.history
    assert len(rest) == 6
    assert first.loss is None
    assert rest[-1].loss is not None
    assert rest[0].loss is not None
    assert rest[-1].loss < 0.5 * rest[0].loss
    assert first.top1 is not None
    assert found.best.top1 is not None
    assert found.best.top1 > max(0.9, first.top1)
    assert found.best == max(found.history, key=lambda epoch: epoch.score)
    assert not found.ended


def test_the_weights_are_those_of_the_best_epoch() -> None:
    wild = replace(RECIPE, epochs=8, rate=1.0, schedule="constant", clip=0.0, momentum=0.0)
    found = train(task(), wild, ALONE)
    assert 0 < found.best.number < 8, "this rate is so high that later epochs are worse"
    data = samples(48, 2)
    (images,) = data.batch(np.arange(48), torch.device("cpu"))[0].values()
    with torch.no_grad():
        right = (found.module(images).argmax(1).numpy() == data.labels).mean()
    assert right == pytest.approx(found.best.top1)


def test_without_labels_a_net_becomes_like_its_teacher() -> None:
    found = train(task(labels=False, teacher=graph(CONVNET, 5)), replace(RECIPE, epochs=10), ALONE)
    assert found.history[0].top1 is None
    assert found.best.validation_loss < 0.2 * found.history[0].validation_loss


def test_running_statistics_move_in_training_or_stay() -> None:
    before = {name: graph().facts.known[name].first for name in ("mean", "var")}
    moved = train(task(), replace(RECIPE, epochs=2), ALONE).module.state_dict()
    kept = train(task(), replace(RECIPE, epochs=2, statistics="eval"), ALONE).module.state_dict()
    for name, value in before.items():
        assert not np.allclose(moved[name].numpy(), value, atol=1e-3)
        np.testing.assert_array_equal(kept[name].numpy(), value)


@pytest.mark.parametrize(("part", "trained"), [("fc", {"wf", "bf"}), ("norm", {"b1", "scale", "shift", "b2", "bf"})])
def test_what_is_not_trained_comes_back_byte_for_byte(part: Any, trained: set[str]) -> None:
    found = train(task(), replace(RECIPE, part=part, statistics="eval"), ALONE)
    assert found.best.number > 0
    model, _ = trained_model(graph(), found.module)
    before = {tensor.name: tensor for tensor in graph().model.graph.initializer}
    changed = {tensor.name for tensor in model.graph.initializer if tensor != before[tensor.name]}
    assert changed == trained
    assert [node.SerializeToString() for node in model.graph.node] == [
        node.SerializeToString() for node in graph().model.graph.node
    ]


def test_nothing_trained_leaves_the_model_as_it_was() -> None:
    found = train(task(), replace(RECIPE, epochs=1, part="none", statistics="eval"), ALONE)
    assert trained_model(graph(), found.module)[0].SerializeToString() == graph().model.SerializeToString()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("step", [0, 2])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, optimizer: Any, step: int) -> None:
    recipe, run = replace(RECIPE, optimizer=optimizer, rate=0.02), {"model": "a"}
    whole = train(task(), recipe, ALONE)
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        train(task(), recipe, ALONE, checkpoint=path, run=run, watch=StopsAfter(3, step))
    assert len(CHECKPOINT.read(path)["history"]) == 4
    resumed = train(task(), recipe, ALONE, checkpoint=path, run=run, resume=True)
    assert values(resumed) == values(whole)
    figures = [[(e.loss, e.validation_loss, e.top1) for e in found.history] for found in (resumed, whole)]
    assert figures[0] == figures[1]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    train(task(), replace(RECIPE, epochs=1), ALONE, checkpoint=path, run={"model": "a", "data": "b"})
    with refused("other-run", "(other data, recipe)"):
        train(task(), RECIPE, ALONE, checkpoint=path, resume=True, run={"model": "a", "data": "c"})
    path.write_bytes(b"no checkpoint")
    with refused("damaged-state", "state"):
        train(task(), RECIPE, ALONE, checkpoint=path, resume=True)
    path.unlink()
    with refused("nothing-to-resume", "state"):
        train(task(), RECIPE, ALONE, checkpoint=path, resume=True)


def test_a_loss_that_is_no_number_ends_training_with_the_last_good_weights() -> None:
    found = train(task(PLAIN), replace(RECIPE, rate=1e18, clip=0.0, warmup=0.0, momentum=0.0), ALONE)
    assert "no finite number any more in epoch" in found.ended
    assert "--lr" in found.ended
    assert all(np.isfinite(value.numpy()).all() for value in found.module.state_dict().values())


def test_an_epoch_whose_validation_is_no_number_is_not_the_best() -> None:
    found = train(task(), replace(RECIPE, rate=1e38, clip=0.0, warmup=0.0, momentum=0.0, batch=96), ALONE)
    assert found.best.number == 0
    assert len(found.history) == 1
    assert "no finite number any more in epoch 1" in found.ended


def test_weights_that_no_answer_depends_on_are_left_alone() -> None:
    text = CONVNET.replace("(float[N, 3] y)", "(float[N, 3] y, float[N, 8] other)")
    text = text.replace("float[3] bf>", "float[3] bf, float[8, 8] wo>").replace(
        "bf)\n}", "bf)\n other = MatMul(f, wo)\n}"
    )
    found = train(task(text), replace(RECIPE, epochs=1), ALONE)
    np.testing.assert_array_equal(found.module.state_dict()["wo"].numpy(), graph(text).facts.known["wo"].first)
    with refused("unsupported-model", "--train"):
        train(task(text), replace(RECIPE, part="tail"), ALONE)


def test_training_ends_when_validation_gets_no_better() -> None:
    found = train(task(), replace(RECIPE, epochs=30, rate=1e-9, decay=0.0, patience=2), ALONE)
    assert found.history[-1].number - found.best.number == 2
    assert found.ended == "No better validation score in 2 epochs."


def test_dropout_differs_by_epoch_and_is_off_in_validation() -> None:
    text = CONVNET.replace("f = Flatten(g)", "d = Dropout(g)\n f = Flatten(d)")
    found = train(task(text), replace(RECIPE, epochs=2), ALONE)
    again = train(task(text), replace(RECIPE, epochs=2), ALONE)
    assert values(found) == values(again)
    plain = train(task(), replace(RECIPE, epochs=2), ALONE)
    assert found.history[0].validation_loss == plain.history[0].validation_loss


def test_mixed_precision_learns_too() -> None:
    found = train(task(), replace(RECIPE, precision="bf16", epochs=8), ALONE)
    assert found.best.top1 is not None
    assert found.best.top1 > 0.9
    assert all(value.dtype == torch.float32 for value in found.module.trained().values())


def test_penalties_shrink_weights_and_part_filters() -> None:
    plain, small, apart = (
        train(task(PLAIN), replace(RECIPE, decay=0.0, **extra), ALONE).module.state_dict()  # type: ignore[arg-type]
        for extra in ({}, {"l1": 0.01}, {"orthogonal": 0.05})
    )
    size = [sum(value.abs().sum().item() for value in found.values()) for found in (plain, small)]
    assert size[1] < 0.8 * size[0]
    assert orthogonality(apart["w2"]).item() < 0.9 * orthogonality(plain["w2"]).item()


def test_too_few_samples_for_the_processes_are_refused() -> None:
    with refused("too-few-samples", "3 samples", "4 processes"):
        train(task(count=3), replace(RECIPE, batch=2), Processes(0, 4, torch.device("cpu")))


def test_images_alone_can_be_augmented() -> None:
    with refused("conflicting-options", "--augment"):
        train(task(), replace(RECIPE, augment=("crop",)), ALONE)


def test_a_graph_for_one_sample_a_call_is_trained_in_batches() -> None:
    text = CONVNET.replace("float[N, 1, 8, 8] x", "float[1, 1, 8, 8] x").replace("float[N, 3] y", "float[1, 3] y")
    shape = "f = Reshape(g, to)"
    text = text.replace("f = Flatten(g)", f"to = Constant<value_ints=[1, 8]>()\n    {shape}")
    graph(text)
    found = train(task(text), replace(RECIPE, statistics="eval"), ALONE)
    free = train(task(), replace(RECIPE, statistics="eval"), ALONE)
    for name in trained_constants(graph()):
        np.testing.assert_allclose(
            found.module.state_dict()[name].numpy(), free.module.state_dict()[name].numpy(), rtol=1e-3, atol=1e-5
        )


def test_external_weights_stay_external(tmp_path: Path) -> None:
    onnx.save(model_of(CONVNET), tmp_path / "a.onnx", save_as_external_data=True, location="a.bin", size_threshold=0)
    stored = read_graph(*open_model(tmp_path / "a.onnx"))
    found = train(replace(task(), graph=stored), replace(RECIPE, epochs=3), ALONE)
    model, weights = trained_model(stored, found.module)
    other = tmp_path / "other" / "b.onnx"  # the values that stay are read from a.bin meanwhile
    other.parent.mkdir()
    write_model(model, weights, other)
    again = read_graph(*open_model(other))
    for name, value in found.module.trained().items():
        np.testing.assert_array_equal(again.facts.known[name].first, value.detach().numpy())
    assert other.stat().st_size < 3000
