"""Streams that may be cut approximately are turned into their principal axes first, and plans say so."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from folders import names
from nets import net, run
from program import call
from program import refused as refused_call
from refusals import refused

import onnxprune
from onnxprune.pipeline.execution import arranging
from onnxprune.values.arrangement import Arrangement

BLOCK = """(float[n, 6, 10] x) => (float[n, 6, 4] y)
    <float[10, 16] w0, float[16] s1, float[16] b1, float[16, 24] w1, float[24, 16] w2,
     float[16] s2, float[16] b2, float[16, 4] w3> {
        e = MatMul(x, w0)
        n1 = LayerNormalization<axis = -1>(e, s1, b1)
        h = MatMul(n1, w1)
        r = Relu(h)
        f = MatMul(r, w2)
        z = Add(e, f)
        n2 = LayerNormalization<axis = -1>(z, s2, b2)
        y = MatMul(n2, w3)
    }"""

RANK = 5
"""In so many directions of its 16 channels the stream varies."""


@pytest.fixture
def given_net(tmp_path: Path) -> Path:
    model = net(BLOCK)
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((RANK, 16))
    for tensor in model.graph.initializer:
        if tensor.name in ("w0", "w2"):
            value = rng.standard_normal((tensor.dims[0], RANK)) @ directions
            tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float32), tensor.name))
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def save_samples(folder: Path, seed: int = 0) -> Path:
    path = folder / f"samples{seed}.npz"
    np.savez(path, x=np.random.default_rng(seed).standard_normal((64, 6, 10)).astype(np.float32))
    return path


def prune(model: Path, name: str, **more: Any) -> onnxprune.Result:
    options = {
        "data": save_samples(model.parent),
        "ratio_for": ["e=50%"],
        "keep": ["h"],
        "approximate": True,
        "recovery": "refit",
        "round_to": 1,
        "force": True,
        **more,
    }
    return onnxprune.prune(model, output=model.with_name(f"{name}.onnx"), **options)


def error(model: Path, name: str) -> float:
    """Return how much of the outputs is wrong on other samples, as a share of their squares."""
    x = np.random.default_rng(7).standard_normal((50, 6, 10)).astype(np.float32)
    before, after = (run(onnx.load(path), {"x": x})[0] for path in (model, model.with_name(f"{name}.onnx")))
    return float(np.square(after - before).sum() / np.square(before - before.mean(axis=0)).sum())


def test_a_stream_of_few_directions_loses_the_others(given_net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = prune(given_net, "a")
    assert result.plan.arrangement.turned == ("e",)
    assert any("principal axes" in note for note in result.notes)
    assert result.plan.groups["e"].kept == 8
    monkeypatch.setattr(arranging, "find_streams", lambda analysis: ())
    assert prune(given_net, "b").plan.arrangement == Arrangement()
    assert error(given_net, "a") < 0.01
    assert error(given_net, "a") < error(given_net, "b") / 3


def test_a_plan_is_applied_to_the_turned_model(given_net: Path) -> None:
    prune(given_net, "a")
    plan, data = given_net.with_name("a.plan.json"), save_samples(given_net.parent)
    again = call("apply", given_net, plan, "--data", data, "-o", given_net.with_name("b.onnx"))
    assert again.code == 0
    assert given_net.with_name("a.onnx").read_bytes() == given_net.with_name("b.onnx").read_bytes()
    assert names(given_net.parent) == ["a.onnx", "a.plan.json", "b.onnx", "net.onnx", "samples0.npz"]


def test_a_plan_of_turned_streams_takes_its_samples(given_net: Path) -> None:
    prune(given_net, "a")
    plan, out = given_net.with_name("a.plan.json"), given_net.with_name("b.onnx")
    refused_call(call("apply", given_net, plan, "-o", out), "principal axes", "--data")
    other = save_samples(given_net.parent, 1)
    refused_call(call("apply", given_net, plan, "--data", other, "-o", out), "principal axes", "--data")
    assert not out.exists()
    model = onnxprune.load(given_net)
    with refused("wrong-model", "onnxprune apply"):
        onnxprune.apply(model, onnxprune.inspect(model, approximate=True), onnxprune.load_plan(plan))


def test_scores_are_read_again_for_the_turned_model(given_net: Path) -> None:
    saved = given_net.with_name("s.npz")
    first = prune(given_net, "a", save_scores=saved)
    again = prune(given_net, "b", scores=saved)
    assert again.plan.groups == first.plan.groups
    assert given_net.with_name("a.onnx").read_bytes() == given_net.with_name("b.onnx").read_bytes()


@pytest.mark.parametrize("more", [{"approximate": False, "ratio_for": ["h=50%"], "keep": []}, {"recovery": "none"}])
def test_nothing_is_turned_that_need_not(given_net: Path, more: dict[str, Any]) -> None:
    assert prune(given_net, "a", **more).plan.arrangement == Arrangement()
