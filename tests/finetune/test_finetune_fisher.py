"""Fisher information by sampled answers, against the probabilities of nets in which it is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from places import CALIB, CONVNET
from refusals import refused

import onnxprune
from onnxprune.analysis.analyse import analyse
from onnxprune.data.arrays import Arrays
from onnxprune.data.dataset import Dataset
from onnxprune.graph.model import read_graph
from onnxprune.pipeline.planning.scoring import collect
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.statistics import Statistics

pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from nets import net, run

NET = """(float[N,2,4,4] x) => (float[N,4] y) <float[6,2,1,1] w0, float[3,6,1,1] w1, float[3,4] v>
    { a = Conv(x, w0) r = Relu(a) c = Conv(r, w1) p = GlobalAveragePool(c) f = Flatten(p) y = MatMul(f, v) }"""

COUNT = 6000


def gathered(text: str, outputs: tuple[int, ...] | None = None, names: tuple[str, ...] = ()) -> Statistics:
    model = net(text)
    x = np.random.default_rng(0).normal(size=(COUNT, 2, 4, 4)).astype(np.float32)
    data = Dataset(Arrays({"x": x}, {}, False, Preprocess()), np.arange(COUNT), None, names, (), "samples")
    return collect(analyse(read_graph(model)), replace(data, outputs=outputs), "fisher", widths=False, batch_size=500)


def probabilities(text: str, outputs: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    x = np.random.default_rng(0).normal(size=(COUNT, 2, 4, 4)).astype(np.float32)
    scores = run(net(text), {"x": x})[0].astype(np.float64)
    scores = scores if outputs is None else scores[:, list(outputs)]
    found = np.exp(scores)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def of_scores(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of diag(p) - p p'."""
    return np.asarray(np.diag(p.mean(axis=0)) - p.T @ p / len(p))


@pytest.mark.parametrize("outputs", [None, (1, 3)])
def test_it_is_that_of_the_probabilities_carried_back(outputs: tuple[int, ...] | None) -> None:
    found = {each.layer: each.fisher for each in gathered(NET, outputs, ("a", "b") if outputs else ()).consumers}
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in net(NET).graph.initializer}
    v = weights["v"].astype(np.float64)[:, list(outputs or range(4))]
    expected = of_scores(probabilities(NET, outputs))
    behind = v @ expected @ v.T / 16  # a position has a 16th of the mean's gradient, and there are 16
    assert found["c"] is not None
    np.testing.assert_allclose(found["c"][0], behind, atol=0.05 * np.abs(behind).max())


AT_ONCE = "y = Softmax(s)"
WRITTEN_OUT = """h = ReduceMax<axes = [1], keepdims = 1>(s) d = Sub(s, h) e = Exp(d)
    t = ReduceSum(e, last) y = Div(e, t)"""


@pytest.mark.parametrize(
    "end",
    [AT_ONCE, "q = Softmax(s) y = Dropout(q)", "q = Softmax(s) u = Unsqueeze(q, last) y = Flatten(u)", WRITTEN_OUT],
)  # fmt: skip
def test_probabilities_and_scores_say_the_same(end: str) -> None:
    ended = NET.replace("y = MatMul(f, v)", f"s = MatMul(f, v) {end}").replace("v>", "v, int64[1] last = {1}>")
    one, two = (gathered(text).consumers[0].fisher for text in (NET, ended))
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-9)


def test_groups_of_a_convolution_have_a_block_each() -> None:
    text = NET.replace("c = Conv(r, w1)", "c = Conv<group=3>(r, w1)").replace("[3,6,1,1] w1", "[3,2,1,1] w1")
    grouped = next(each for each in gathered(text).consumers if each.layer == "c")
    assert grouped.fisher is not None
    assert grouped.fisher.shape == (3, 1, 1)
    assert (grouped.fisher > 0).all()


def test_a_model_without_class_scores_is_refused() -> None:
    with refused("wrong-outputs", "class scores", "reconstruction"):
        gathered(NET.replace("float[N,4] y", "float[N,3,4,4] c").split("p = ")[0] + "}")


def test_where_several_outputs_may_hold_the_scores_labels_have_to_tell() -> None:
    with refused("wrong-outputs", "several outputs", "labelled"):
        gathered(NET.replace("=> (float[N,4] y)", "=> (float[N,3] f, float[N,4] y)"))


def test_layers_that_cannot_be_measured_are_left_out() -> None:
    """No layer that reads the only group has a weight of its own."""
    text = """(float[N,2,4,4] x) => (float[N,4] y) <float[4,2,1,1] w0> {
        a = Conv(x, w0) r = Relu(a) p = GlobalAveragePool(r) y = Flatten(p) }"""
    assert gathered(text).consumers == ()


def test_the_same_data_give_the_same_bytes_and_some_of_the_classes_others(tmp_path: Path) -> None:
    for name, classes in (("a", ()), ("b", ()), ("c", ("1", "7"))):
        onnxprune.prune(
            CONVNET, CALIB, "fisher", output=tmp_path / f"{name}.onnx", macs=0.5, preprocess="unit", classes=classes
        )
    kept = [onnxprune.load_plan(tmp_path / f"{name}.plan.json").keep() for name in "abc"]
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert any((kept[0][name] != kept[2][name]).any() for name in kept[0])
