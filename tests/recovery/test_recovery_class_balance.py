"""The classifier's bias behind a recovery: what it is by hand, where scores are found, and what it is worth."""

from typing import Any

import numpy as np
import onnx
import pytest
from nets import net, run
from numpy.typing import NDArray
from recoveries import Case, case

from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.weights import named_tensors
from onnxprune.recovery.class_balance import SPREAD, class_bias, score_tensors

Array = NDArray[Any]

BODY = (
    "a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a) p = GlobalAveragePool(r) f = Flatten(p) s = Gemm<transB=1>(f, v, c)"
)
HEAD = "<float[12,2,3,3] w, float[12] b, float[5,12] v, float[5] c, float t = {0.25}, int64[2] q = {-1, 5}>"


def classifier(ending: str, output: str = "float[n,5] y") -> onnx.ModelProto:
    """Return a classifier that is sure of some samples and says every class."""
    scores = net(f"(float[n,2,6,6] x) => (float[n,5] s) {HEAD} {{ {BODY} }}")
    x = np.random.default_rng(0).normal(0.3, 1.0, (256, 2, 6, 6)).astype(np.float32)
    found = run(scores, {"x": x})[0]
    scale = 3 / found.std(axis=0)
    model = net(f"(float[n,2,6,6] x) => ({output}) {HEAD} {{ {BODY} {ending} }}")
    tensors = named_tensors(model.graph)
    v, c = (onnx.numpy_helper.to_array(tensors[name]) for name in "vc")
    tensors["v"].CopyFrom(onnx.numpy_helper.from_array(scale[:, None] * v, "v"))
    tensors["c"].CopyFrom(onnx.numpy_helper.from_array(scale * (c - found.mean(axis=0)), "c"))
    return model


SCORES = classifier("y = Identity(s)")
PROBABILITIES = classifier("y = Softmax<axis=1>(s)")
COOLED = classifier("z = Div(s, t) y = LogSoftmax<axis=1>(z)")


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def test_a_bias_makes_up_for_a_class_that_is_said_too_rarely() -> None:
    truth = np.random.default_rng(0).normal(size=(20000, 3))
    found = truth - np.array([0.0, 0.6, 0.0])
    bias = class_bias(truth, found)
    assert bias - bias.mean() == pytest.approx([-0.2, 0.4, -0.2], abs=2e-3)
    assert class_bias(truth[:, [2, 0, 1]], found[:, [2, 0, 1]]) == pytest.approx(bias[[2, 0, 1]], abs=1e-4)
    assert class_bias(truth, truth) == pytest.approx([0, 0, 0], abs=1e-6)


def test_few_samples_move_it_less() -> None:
    # two classes, one sample, p = (1, 0) and q = (1/2, 1/2): by symmetry b = (t, -t), and the derivative
    # 2 t / SPREAD^2 = 2 (1 - sigmoid(2 t))
    bias = class_bias(np.array([[40.0, -40.0]]), np.zeros((1, 2)))
    assert bias[0] == pytest.approx(-bias[1], abs=1e-6)
    assert bias[0] / SPREAD**2 == pytest.approx(1 - 1 / (1 + np.exp(-2 * bias[0])), abs=1e-4)


@pytest.mark.parametrize(
    ("ending", "output", "known", "seen"),
    [
        ("y = Identity(s)", "float[n,5] y", "", "y s"),
        ("y = Softmax<axis=1>(s)", "float[n,5] y", "s", "s"),
        ("z = Div(s, t) y = LogSoftmax<axis=1>(z)", "float[n,5] y", "z", "z"),
        ("z = Softmax<axis=1>(s) y = Reshape(z, q)", "float[n,5] y", "s", "s"),
        ("y = Sigmoid(s)", "float[n,5] y", "", "y"),
        ("y = Hardmax<axis=1>(s)", "float[n,5] y", "", "y"),
        ("z = Softmax<axis=1>(s) y = Softmax<axis=1>(z)", "float[n,5] y", "z", "z"),
        ("y = GlobalAveragePool(r)", "float[n,12,1,1] y", "", "y"),
        ("y = Relu(a)", "float[n,12,6,6] y", "", ""),
    ],
)
def test_scores_are_found_before_a_softmax(ending: str, output: str, known: str, seen: str) -> None:
    graph = read_graph(classifier(ending, output))
    assert score_tensors(graph, classes=False) == set(known.split())
    assert score_tensors(graph, classes=True) == set(seen.split())


def fitted_probabilities(found: Case, model: onnx.ModelProto) -> tuple[Array, Array]:
    """Return the mean probabilities of the original and of a model on the samples that weights were fitted to."""
    calls = found.calls[: len(found.calls) - len(found.calls) // 5]
    both = [[run(each, call)[0] for call in calls] for each in (found.model, model)]
    if found.model.graph.node[-1].op_type == "Identity":
        both = [[softmax(part) for part in parts] for parts in both]
    elif found.model.graph.node[-1].op_type == "LogSoftmax":
        both = [[np.exp(part) for part in parts] for parts in both]
    first, second = (np.concatenate(parts).mean(axis=0) for parts in both)
    return first, second


@pytest.mark.parametrize(("model", "classes"), [(SCORES, True), (PROBABILITIES, False), (COOLED, False)])
def test_classes_are_said_as_often_as_before(
    model: onnx.ModelProto, classes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = case(model, (2, 6, 6), n=400)
    with monkeypatch.context() as patched:
        patched.setattr("onnxprune.recovery.ways.refit.score_tensors", lambda graph, *, classes: ())
        plain = found.recovered("refit", classes=classes).model
    balanced = found.recovered("refit", classes=classes).model
    (truth, without), (_, with_it) = (fitted_probabilities(found, each) for each in (plain, balanced))
    assert np.abs(without - truth).max() > 1e-3, "the cut has to favour some classes, or there is nothing to see"
    assert np.abs(with_it - truth).max() < 0.6 * np.abs(without - truth).max()
    one, two = named_tensors(plain.graph), named_tensors(balanced.graph)
    assert [name for name in one if one[name].raw_data != two[name].raw_data] == ["c"]


def test_a_regression_keeps_its_least_squares() -> None:
    found = case(SCORES, (2, 6, 6), n=80)
    model = found.recovered("refit").model
    errors = [run(model, call)[0] - run(found.model, call)[0] for call in found.calls[: -(len(found.calls) // 5)]]
    assert np.concatenate(errors).mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-5)


def test_scores_without_a_place_for_a_bias_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    body = BODY.replace(", c)", ")")
    model = net(f"(float[n,2,6,6] x) => (float[n,5] y) {HEAD} {{ {body} y = Softmax<axis=1>(s) }}")
    found = case(model, (2, 6, 6), n=80)
    balanced = found.recovered("refit").model
    monkeypatch.setattr("onnxprune.recovery.ways.refit.score_tensors", lambda graph, *, classes: ())
    assert balanced.SerializeToString() == found.recovered("refit").model.SerializeToString()


def test_matching_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("onnxprune.finetune.matching.STEPS", 60)
    monkeypatch.setattr("onnxprune.finetune.matching.RATES", (2e-3,))
    monkeypatch.setattr("onnxprune.finetune.matching.FIRST", 0)
    found = case(SCORES, (2, 6, 6), n=400)
    with monkeypatch.context() as patched:
        patched.setattr("onnxprune.finetune.matching.balanced", lambda task, model: model)
        plain = found.recovered("match", classes=True)
    assert plain.solved, "it has to have trained something"
    balanced = found.recovered("match", classes=True).model
    (truth, without), (_, with_it) = (fitted_probabilities(found, each) for each in (plain.model, balanced))
    assert np.abs(with_it - truth).max() < 0.5 * np.abs(without - truth).max()
