"""Scores by gradient against small steps, and against a net in which all is plain to see."""

import numpy as np
import pytest
from refusals import refused
from training_nets import CONVNET, PLAIN, samples

from onnxprune.analysis.analyse import analyse
from onnxprune.analysis.analysis import Analysis
from onnxprune.data.dataset import Dataset
from onnxprune.importance.method import find_method
from onnxprune.pipeline.planning.scoring import collect, score
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.statistics import GRADIENT_WINS, TAYLOR

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from nets import net  # noqa: E402

from onnxprune.data.arrays import Arrays  # noqa: E402
from onnxprune.finetune.interpreter.module import GraphModule  # noqa: E402
from onnxprune.graph.model import Graph, read_graph  # noqa: E402

DEAD = 3


def dataset(count: int = 12, *, labelled: bool = True) -> Dataset:
    found = samples(count, 4)
    reader = Arrays(found.arrays, {}, False, Preprocess())
    labels = found.labels if labelled else None
    return Dataset(reader, np.arange(count), labels, ("a", "b", "c"), (), "samples")


def with_dead_filter(text: str) -> tuple[Graph, Analysis]:
    model = net(text)
    for tensor in model.graph.initializer:
        if tensor.name in ("w2", "b2"):
            value = np.frombuffer(tensor.raw_data, np.float32).reshape(tuple(tensor.dims)).copy()
            value[DEAD] = -1.0 if tensor.name == "b2" else 0.0  # never above 0, so the ReLU never passes it on
            tensor.raw_data = value.tobytes()
    graph = read_graph(model)
    return graph, analyse(graph)


def test_taylor_is_the_change_of_the_loss_by_small_steps() -> None:
    graph, analysis = with_dead_filter(PLAIN)
    data = dataset()
    statistics = collect(analysis, data, "taylor", widths=False)
    module = GraphModule(graph).double().eval()
    images = torch.from_numpy(data.reader.feeds(data.rows)["x"]).double()
    labels = torch.from_numpy(data.labels)

    def losses(scale: float, channel: int) -> np.ndarray:
        _, inner = module.traced([images], ["r2"])
        changed = inner["r2"].clone()
        changed[:, channel] *= scale
        features = changed.mean((2, 3))
        scores = features @ module.trained()["wf"].T + module.trained()["bf"]
        return np.asarray(torch.nn.functional.cross_entropy(scores, labels, reduction="none").detach())

    layer = statistics.layers["c2"].values[TAYLOR]
    step = 1e-5
    for channel in range(8):
        slope = (losses(1 + step, channel) - losses(1 - step, channel)) / (2 * step) / 64  # mean over 8 x 8 positions
        for label in range(3):
            expected = np.abs(slope[data.labels == label]).mean()
            assert layer[label, channel] == pytest.approx(expected, rel=1e-3, abs=1e-9)
    assert (layer[:, DEAD] == 0).all()


def test_wins_by_gradient_count_where_activation_and_gradient_meet() -> None:
    graph, analysis = with_dead_filter(PLAIN)
    data = dataset()
    options = {"score": "gradient"}
    statistics = collect(analysis, data, "class-aware", options, widths=False)
    module = GraphModule(graph).eval()
    _, inner = module.traced([torch.from_numpy(data.reader.feeds(data.rows)["x"])], ["c2"])
    active = (inner["c2"].detach().numpy() > 0).reshape(12, 8, 64)  # behind the ReLU a mean: every gradient is not 0
    of_class = np.stack([active[data.labels == label].mean(axis=0) for label in range(3)])
    wins = statistics.layers["c2"].values[GRADIENT_WINS]
    np.testing.assert_allclose(wins[0], of_class.sum(axis=0).max(axis=1), rtol=1e-6)
    assert wins[0, DEAD] == 0
    scores = score(analysis, statistics, "class-aware", options)
    group = next(name for name in scores.values if "c2" in name)
    assert scores.values[group].argmin() == DEAD


@pytest.mark.parametrize("text", [CONVNET, PLAIN], ids=["with normalisation", "without"])
def test_forward_and_gradient_agree_where_every_gradient_reaches(text: str) -> None:
    _, analysis = with_dead_filter(text)
    found = [
        score(
            analysis,
            collect(analysis, dataset(60), "class-aware", {"score": way}, widths=False),
            "class-aware",
            {"score": way},
        )
        for way in ("forward", "gradient")
    ]
    for name, forward in found[0].values.items():
        np.testing.assert_allclose(found[1].values[name], forward, rtol=0.02, atol=0.02)


def test_taylor_does_not_depend_on_the_order_of_channels_or_images() -> None:
    _, analysis = with_dead_filter(CONVNET)
    data = dataset()
    shuffled = data.subset(np.random.default_rng(0).permutation(12))
    one, other = (
        score(analysis, collect(analysis, found, "taylor", batch_size=size, widths=False), "taylor")
        for found, size in ((data, 12), (shuffled, 5))
    )
    for name, values in one.values.items():
        np.testing.assert_allclose(other.values[name], values, rtol=1e-4)


def test_a_gradient_takes_labels() -> None:
    _, analysis = with_dead_filter(PLAIN)
    with refused("no-labels"):
        collect(analysis, dataset(labelled=False), "taylor", widths=False)
    with refused("no-data", "taylor"):
        collect(analysis, None, "taylor", widths=False)
    assert find_method("taylor").needs_data({})


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.finetune.installed.find_spec", lambda name: None)
    _, analysis = with_dead_filter(PLAIN)
    with refused("not-installed", "torch", "pip install"):
        collect(analysis, dataset(), "taylor", widths=False)
