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
from onnxprune.importance.principal_axes import principal_axes
from onnxprune.pipeline.execution import arranging
from onnxprune.values.arrangement import Arrangement
from onnxprune.values.axes import FloatArray

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
        "allow": "approximate",
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
    assert error(given_net, "a") < error(given_net, "b") / 2


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
        onnxprune.apply(model, onnxprune.inspect(model, allow="approximate"), onnxprune.load_plan(plan))


def test_scores_are_read_again_for_the_turned_model(given_net: Path) -> None:
    saved = given_net.with_name("s.npz")
    first = prune(given_net, "a", save_scores=saved)
    again = prune(given_net, "b", scores=saved)
    assert again.plan.groups == first.plan.groups
    assert given_net.with_name("a.onnx").read_bytes() == given_net.with_name("b.onnx").read_bytes()


@pytest.mark.parametrize("more", [{"allow": (), "ratio_for": ["h=50%"], "keep": []}, {"recovery": "none"}])
def test_nothing_is_turned_that_need_not(given_net: Path, more: dict[str, Any]) -> None:
    assert prune(given_net, "a", **more).plan.arrangement == Arrangement()


SHARED = [
    ("", "(z, s2, b2)", "(z, s1, b1)"),
    (f"s = Constant<value_floats = [{', '.join(str(1 + place / 20) for place in range(16))}]>()", "s2, b2)", "s, b2)"),
    ("s = Identity(s1)", "(z, s2, b2)", "(z, s, b2)"),
    ("", "z = Add(e, f)", "g = Add(f, b1) z = Add(e, g)"),
]
"""Constants that another node reads too, or that stand behind a node: what is put before, and what is another way."""


@pytest.mark.parametrize(("before", "old", "new"), SHARED, ids=["both norms", "a node", "an identity", "a sum"])
@pytest.mark.parametrize("keep", ["h", "e"])
def test_constants_that_are_shared_are_copied_and_cut(
    given_net: Path, before: str, old: str, new: str, keep: str
) -> None:
    text = BLOCK.replace("> {", "> { " + before, 1).replace(old, new)
    if "Constant" in before:
        text = text.replace("(e, s1, b1)", "(e, s, b1)")
    onnx.save(net(text), given_net)
    cut = "e" if keep == "h" else "h"
    result = prune(given_net, "shared", keep=[keep], ratio_for=[f"{cut}=50%"])
    assert result.equality is not None
    assert result.equality.status == "equal"
    assert any("turned" in note for note in result.notes) == (keep == "h")
    assert error(given_net, "shared") < 1


def test_streams_that_are_not_finite_stay(given_net: Path) -> None:
    onnx.save(
        net(BLOCK.replace("z = Add(e, f)", "k = Exp(x) q = ReduceSum(k) z0 = Add(e, f) z = Add(z0, q)")), given_net
    )
    x = np.random.default_rng(0).standard_normal((64, 6, 10)).astype(np.float32)
    x[5] = 100
    np.savez(given_net.parent / "large.npz", x=x)
    options: dict[str, Any] = {"data": given_net.parent / "large.npz", "check_accuracy": False}
    with refused("not-runnable", "'y'", "NaN or infinity"):
        prune(given_net, "large", **options)


TWO = BLOCK.replace("=> (float[n, 6, 4] y)", "=> (float[n, 6, 4] y, float[n, 6, 4] yy)").replace(
    "float[16, 4] w3>", "float[16, 4] w3, float[10, 16] v0, float[16] t1, float[16] t2, float[16, 4] v3>"
).replace("y = MatMul(n2, w3)", """y = MatMul(n2, w3)
        ee = MatMul(x, v0)
        m1 = LayerNormalization<axis = -1>(ee, t1, t2)
        yy = MatMul(m1, v3)""")  # fmt: skip


def test_a_stream_that_changes_when_turned_stays_and_others_are_turned(
    given_net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(net(TWO), given_net)
    traces: list[float] = []

    def noted(covariance: FloatArray, *, centred: bool) -> FloatArray:
        traces.append(float(np.trace(covariance)))
        return principal_axes(covariance, centred=centred)

    def wrong(covariance: FloatArray, *, centred: bool) -> FloatArray:
        found = principal_axes(covariance, centred=centred)
        return 2 * found if np.trace(covariance) > sum(traces) / 2 else found

    monkeypatch.setattr(arranging, "principal_axes", noted)
    both = prune(given_net, "both", ratio_for=["e=50%", "ee=50%"])
    assert any("2 streams were turned" in note for note in both.notes)
    monkeypatch.setattr(arranging, "principal_axes", wrong)
    one = prune(given_net, "one", ratio_for=["e=50%", "ee=50%"])
    assert any("was turned" in note and "1 more" in note for note in one.notes)
