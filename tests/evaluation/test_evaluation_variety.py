"""Outputs that do not tell samples apart are named; those that do are not."""

from pathlib import Path

import numpy as np
import pytest
from nets import Array, net

from onnxprune.data import open_data
from onnxprune.evaluation import alike
from onnxprune.runtime import open_session
from onnxprune.values.preprocess import Preprocess

NETS = {
    "scores": "(float[n, 3] x) => (float[n, 3] y) { y = Identity(x) }",
    "map": "(float[n, 3] x) => (float[n, 3] y) { y = Sigmoid(x) }",
    "integers": "(float[n, 3] x) => (int64[n, 1] y) { y = ArgMax<axis = 1>(x) }",
    "two": "(float[n, 3] x) => (float[n, 3] y, float[n, 3] z) <float k = {0.0}> { y = Mul(x, k) z = Identity(x) }",
    "sum": "(float[n, 3] x) => (float[1, 1] y) { y = ReduceSum(x) }",
    "found": "(float[n, 3] x) => (int64[2, m] y) { y = NonZero(x) }",
}


def said(tmp_path: Path, kind: str, x: Array) -> str | None:
    model = net(NETS[kind])
    np.savez(tmp_path / "x.npz", x=x.astype(np.float32))
    session = open_session(model)
    return alike(session, open_data(tmp_path / "x.npz", session.inputs, Preprocess()), 0)


RNG = np.random.default_rng(0)
MIXED = RNG.normal(size=(20, 3)) * 3


@pytest.mark.parametrize("kind", ["scores", "map", "integers", "two", "sum", "found"])
def test_outputs_that_vary_are_fine(tmp_path: Path, kind: str) -> None:
    assert said(tmp_path, kind, np.maximum(MIXED, 0) if kind == "found" else MIXED) is None


@pytest.mark.parametrize(
    ("kind", "x", "reason"),
    [
        ("scores", np.ones((20, 3)), "output 'y' is the same for all of them, or nearly"),
        ("scores", np.array([5.0, 0.0, 0.0]) + 0.1 * MIXED, "output 'y' says class 0 for all of them"),
        ("map", -8 + 0.3 * MIXED, "output 'y' lies between "),
        ("map", 12 + 0.3 * MIXED, "output 'y' is the same for all of them"),
        ("integers", np.array([5.0, 0.0, 0.0]) + 0.1 * MIXED, "output 'y' is the same for all of them"),
        ("two", np.array([5.0, 0.0, 0.0]) + 0.1 * MIXED, "output 'y' is the same for all of them"),
        ("found", np.zeros((20, 3)), "output 'y' is empty for all of them"),
    ],
)  # fmt: skip
def test_outputs_that_hardly_vary_are_named(tmp_path: Path, kind: str, x: Array, reason: str) -> None:
    assert (said(tmp_path, kind, x) or "").startswith(reason)


def test_a_few_samples_say_nothing(tmp_path: Path) -> None:
    assert said(tmp_path, "scores", np.ones((3, 3))) is None
