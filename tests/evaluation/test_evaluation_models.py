"""Measuring models on data: top-1 on every form of output, drift, presets, and the refusals."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from refusals import refused

from onnxprune.data import Dataset, open_data
from onnxprune.evaluation import auto_preprocess, class_output, declared_classes, drift, evaluate, predict
from onnxprune.evaluation.classes import log_probabilities
from onnxprune.evaluation.presets import _best
from onnxprune.runtime import Session
from onnxprune.values.data import PresetScore
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import PRESETS, Preprocess
from onnxprune.values.progress import Item

RNG = np.random.default_rng(11)
X = RNG.normal(size=(7, 3)).astype(np.float32)
Y = X.argmax(axis=1)


def session(text: str, name: str = "net") -> Session:
    parsed = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    onnx.checker.check_model(parsed)
    return Session(parsed.SerializeToString(), name=name, threads=1)


def identity(batch: str = "n") -> Session:
    return session(f"g (float[{batch}, 3] x) => (float[{batch}, 3] y) {{ y = Identity(x) }}")


def dataset(folder: Path, model: Session, **arrays: Any) -> Dataset:
    np.savez(folder / "d.npz", **arrays)
    return open_data(folder / "d.npz", model.inputs, Preprocess())


@pytest.mark.parametrize("batch", ["n", "1", "4"])
def test_top1_for_every_batch_dimension(tmp_path: Path, batch: str) -> None:
    labels = Y.copy()
    labels[0] = (labels[0] + 1) % 3
    model = identity(batch)
    accuracy = evaluate(model, dataset(tmp_path, model, x=X, y=labels), batch_size=5)
    assert (accuracy.correct, accuracy.total, accuracy.classes) == (6, 7, 3)


def test_scores_with_trailing_ones_and_after_other_outputs(tmp_path: Path) -> None:
    text = """g (float[n, 3] x) => (int64[n] best, float[n, 1] top, float[n, 3, 1, 1] scores)
        <int64[2] axes = {2, 3}> {
            best = ArgMax <axis = 1, keepdims = 0> (x)
            top = ReduceMax <axes = [1]> (x)
            scores = Unsqueeze(x, axes) }"""
    model = session(text)
    data = dataset(tmp_path, model, x=X, y=Y)
    assert class_output(model, data) == ("scores", 3)
    assert declared_classes(model.outputs) == 3
    assert declared_classes(model.outputs, "top") is None
    assert evaluate(model, data).top1 == 1.0


def test_named_output_is_used(tmp_path: Path) -> None:
    model = session("g (float[n, 3] x) => (float[n, 3] a, float[n, 3] b) { a = Identity(x) b = Neg(x) }")
    data = dataset(tmp_path, model, x=X, y=Y)
    assert predict(model, data).output == "a"
    negative = predict(model, data, output="b")
    np.testing.assert_array_equal(negative.predicted, X.argmin(axis=1))
    with refused("unknown-name", "'net'", "'c'"):
        predict(model, data, output="c")


def test_model_without_class_scores_is_refused_with_a_way_out(tmp_path: Path) -> None:
    model = session("g (float[n, 3] x) => (int64[n, 1] best) { best = ArgMax <axis = 1> (x) }")
    data = dataset(tmp_path, model, x=X, y=Y)
    with refused("wrong-outputs", "'best' [?, 1]", "--no-accuracy-check"):
        evaluate(model, data)
    with refused("wrong-outputs", "'best'"):
        evaluate(model, data, output="best")


def test_missing_labels_and_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    model = identity()
    with refused("no-labels", "d.npz"):
        evaluate(model, dataset(tmp_path, model, x=X))
    with refused("bad-labels", "label 3", "3 classes", "--labels"):
        evaluate(model, dataset(tmp_path, model, x=X, y=Y + 1))


def test_nan_scores_are_refused(tmp_path: Path) -> None:
    model = session("g (float[n, 3] x) => (float[n, 3] y) { y = Log(x) }")
    with refused("wrong-outputs", "'y'", "'net'", "NaN"):
        evaluate(model, dataset(tmp_path, model, x=-np.abs(X), y=Y))


def test_track_counts_samples(tmp_path: Path) -> None:
    seen: list[tuple[int, str, list[int]]] = []

    def track(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        kept = list(items)
        seen.append((total, what, [len(item) for item in kept]))
        yield from kept

    model = identity()
    evaluate(model, dataset(tmp_path, model, x=X, y=Y), batch_size=3, track=track)
    assert seen == [(7, "measuring accuracy", [3, 3, 1])]


def test_log_probabilities_of_logits_and_of_probabilities() -> None:
    logits = RNG.normal(size=(4, 3)) * 50
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(log_probabilities(logits)), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.exp(log_probabilities(expected)), expected, rtol=0, atol=1e-9)


def scaled(factor: float, batch: str = "n") -> Session:
    text = f"g (float[{batch}, 3] x) => (float[{batch}, 3] y) <float k = {{{factor}}}> {{ y = Mul(x, k) }}"
    return session(text, name=f"times {factor}")


@pytest.mark.parametrize("batch", ["n", "1", "4"])
def test_drift_is_the_relative_norm_whatever_the_batch(tmp_path: Path, batch: str) -> None:
    reference = scaled(2.0, batch)
    data = dataset(tmp_path, reference, x=X)
    near = drift(reference, scaled(2.5, batch), data, batch_size=3)
    assert near.relative_l2["y"] == pytest.approx(0.25, abs=1e-6)
    assert near.agreement == {"y": 1.0}
    assert drift(reference, scaled(-2.0, batch), data).agreement["y"] == pytest.approx(0.0, abs=0)
    same = drift(reference, reference, data)
    assert (same.worst, same.skipped) == (0.0, {})


@pytest.mark.parametrize("batch", ["n", "1", "4"])
def test_drift_counts_each_sample_once(tmp_path: Path, batch: str) -> None:
    reference = identity(batch)
    changed = session(f"g (float[{batch}, 3] x) => (float[{batch}, 3] y) {{ y = Relu(x) }}")
    found = drift(reference, changed, dataset(tmp_path, reference, x=X), batch_size=2).relative_l2["y"]
    expected = np.linalg.norm(np.minimum(X, 0)) / np.linalg.norm(X)
    assert found == pytest.approx(float(expected), abs=1e-6)


def test_drift_skips_what_cannot_be_compared_with_a_reason(tmp_path: Path) -> None:
    text = """g (float[n, 3] x) => (float total, float[m] hits, string best, float[n, 3] logs, float[n, 3] LAST)
        <int64 zero = {0}> {
            total = ReduceSum <keepdims = 0> (x)
            positive = Relu(x)
            place = NonZero(COUNTED)
            flat = Gather <axis = 0> (place, zero)
            hits = Cast <to = 1> (flat)
            best = Cast <to = 8> (total)
            logs = Log(x)
            LAST = Identity(x) }"""
    old = session(text.replace("COUNTED", "x").replace("LAST", "gone"))
    new = session(text.replace("COUNTED", "positive").replace("LAST", "other"))
    found = drift(old, new, dataset(tmp_path, old, x=X))
    assert found.relative_l2 == {"total": 0.0}
    assert found.agreement == {}
    assert set(found.skipped) == {"hits", "best", "logs", "gone"}
    assert "shape differs" in found.skipped["hits"]
    assert "str" in found.skipped["best"]
    assert "NaN" in found.skipped["logs"]
    assert "does not have it" in found.skipped["gone"]


def test_drift_to_nan_or_from_zero_is_infinite(tmp_path: Path) -> None:
    reference = identity()
    data = dataset(tmp_path, reference, x=X)
    broken = drift(reference, session("g (float[n, 3] x) => (float[n, 3] y) { y = Log(x) }"), data)
    assert broken.worst == math.inf
    assert broken.to_json()["relative_l2"] == {"y": None}
    assert drift(scaled(0.0), reference, data).worst == math.inf


def test_drift_of_integer_outputs_is_the_share_of_equal_elements(tmp_path: Path) -> None:
    text = "g (float[n, 3] x) => (int64[n] best) {{ h = {op}(x) best = ArgMax <axis = 1, keepdims = 0> (h) }}"
    old, new = session(text.format(op="Identity")), session(text.format(op="Abs"))
    found = drift(old, new, dataset(tmp_path, old, x=X), batch_size=3)
    share = float((np.abs(X).argmax(axis=1) == Y).mean())
    assert 0 < share < 1
    assert found.equal == {"best": pytest.approx(share, abs=1e-12)}
    assert found.worst == pytest.approx(1 - share, abs=1e-12)
    assert (found.relative_l2, found.agreement) == ({}, {})


def test_drift_without_common_output_is_refused(tmp_path: Path) -> None:
    reference = identity()
    other = session("g (float[n, 3] x) => (float[n, 3] z) { z = Identity(x) }")
    with refused("wrong-outputs", "'net'", "'y'"):
        drift(reference, other, dataset(tmp_path, reference, x=X))


def images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey images, dark (class 0) to bright (class 2)."""
    labels = np.repeat(np.arange(3), 20)
    pixels = np.random.default_rng(2).integers(0, 60, (60, 5, 6)) + (labels * 95)[:, None, None]
    return pixels.astype(np.uint8), labels


def brightness_model() -> Session:
    """Right on images scaled to -1..1 only: the nearest of three true levels of brightness and two decoys."""
    text = """g (float[n, 1, 5, 6] x) => (float[n, 5] y)
        <float[1, 5] levels = {-0.7686, -0.0235, 0.7216, -1.4, 1.7}> {
            flat = Flatten <axis = 1> (x) mean = ReduceMean <axes = [1]> (flat)
            gap = Sub(mean, levels) square = Mul(gap, gap) y = Neg(square) }"""
    return session(text)


def test_auto_preprocess_finds_the_preset_and_keeps_the_rest(tmp_path: Path) -> None:
    pixels, labels = images()
    model = brightness_model()
    data = dataset(tmp_path, model, x=pixels, y=labels)
    base = Preprocess(layout="nchw", crop=(5, 6))
    best, table = auto_preprocess(model, data, base, limit=30)
    assert best == base.with_preset("symmetric")
    assert [row.name for row in table] == list(PRESETS)
    top1 = {row.name: row.top1 for row in table}
    assert top1["symmetric"] == 1.0
    assert max(value for name, value in top1.items() if name != "symmetric") < 1.0


def test_auto_preprocess_breaks_ties_by_confidence(tmp_path: Path) -> None:
    pixels, labels = images()
    model = brightness_model()
    data = dataset(tmp_path, model, x=pixels, y=labels)
    presets = {"near": Preprocess(mean=(0.7,), scale=1 / 127.5), "exact": PRESETS["symmetric"]}
    best, table = auto_preprocess(model, data, Preprocess(), presets)
    assert table[0].top1 == table[1].top1 == 1.0
    assert table[1].log_probability > table[0].log_probability
    assert best == Preprocess().with_preset("symmetric")


def test_auto_preprocess_needs_labels_and_pixels(tmp_path: Path) -> None:
    model = brightness_model()
    pixels, labels = images()
    with refused("no-labels", "--preprocess auto"):
        auto_preprocess(model, dataset(tmp_path, model, x=pixels), Preprocess())
    floats = pixels[:, None].astype(np.float32)
    with refused("conflicting-options", "--preprocess auto"):
        auto_preprocess(model, dataset(tmp_path, model, x=floats, y=labels), Preprocess())


def test_declared_classes_of_free_and_missing_dimensions() -> None:
    assert declared_classes([TensorSpec("y", (None, None), "float32")]) is None
    assert declared_classes([TensorSpec("a", (1, 4, 5), "float32"), TensorSpec("b", (1, 9), "float32")]) == 9


def test_presets_within_one_standard_error_are_told_apart_by_the_probability_of_the_true_class() -> None:
    close = [
        (PresetScore("right", 0.965, -0.06), Preprocess()),
        (PresetScore("alike", 0.970, -0.08), Preprocess(scale=0.5)),
        (PresetScore("wrong", 0.300, -0.01), Preprocess(scale=2.0)),
    ]
    assert _best(close, 200) == Preprocess()
    assert _best(close, 100_000) == Preprocess(scale=0.5), "with that many images half a point is no chance"
