"""Every group of a convolution loses its own least channels, and plans and files of scores say in which order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from folders import names
from nets import net, random_feed, run
from program import call
from program import refused as refused_call
from refusals import refused

import onnxprune
from onnxprune.errors import InputError
from onnxprune.pipeline.execution import arranging
from onnxprune.values.arrangement import Arrangement

GROUPED = """(float[n, 3, 6, 6] x) => (float[n, 4] y)
    <float[12, 3, 3, 3] w0, float[12] b0, float[9, 4, 3, 3] w1, float[9] b1, float[4, 9] w2> {
        c = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
        r = Relu(c)
        d = Conv<group = 3, pads = [1, 1, 1, 1]>(r, w1, b1)
        e = Relu(d)
        p = GlobalAveragePool(e)
        f = Flatten(p)
        y = Gemm<transB = 1>(f, w2)
    }"""

DEAD = {0: (1, 2), 1: (0, 3), 2: (2, 3)}
"""By group of the second convolution the columns whose channels are always 0."""


@pytest.fixture
def given_net(tmp_path: Path) -> Path:
    model = net(GROUPED)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    filters, bias = (onnx.numpy_helper.to_array(weights[name]).copy() for name in ("w0", "b0"))
    for group, columns in DEAD.items():
        filters[[4 * group + column for column in columns]] = 0
        bias[[4 * group + column for column in columns]] = 0
    weights["w0"].CopyFrom(onnx.numpy_helper.from_array(filters, "w0"))
    weights["b0"].CopyFrom(onnx.numpy_helper.from_array(bias, "b0"))
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "samples.npz", x=rng.standard_normal((40, 3, 6, 6)).astype(np.float32))
    return tmp_path / "samples.npz"


def prune(model: Path, name: str, **more: Any) -> onnxprune.Result:
    options = {"ratio_for": ["c=50%"], "keep": ["d"], "recovery": "none", "round_to": 1, "force": True, **more}
    return onnxprune.prune(model, output=model.with_name(f"{name}.onnx"), **options)


def outputs(path: Path) -> Any:
    model = onnx.load(path)
    return run(model, random_feed(model))[0]


def lost(result: onnxprune.Result) -> dict[int, set[int]]:
    """Return which channels go from each group of the second convolution."""
    orders = result.plan.arrangement.orders["c"].tolist()
    return {group: {order[place] for place in result.plan.groups["c"].removed} for group, order in enumerate(orders)}


@pytest.mark.parametrize(("method", "sampled"), [("l1", False), ("l1", True), ("reconstruction", True)])
def test_each_group_loses_its_own_dead_channels(given_net: Path, samples: Path, method: str, sampled: bool) -> None:
    data = {"data": samples, "mean": [0], "std": [1]} if sampled else {}
    result = prune(given_net, "a", method=method, **data)
    assert any("grouped convolution" in note for note in result.notes)
    assert lost(result) == {group: set(columns) for group, columns in DEAD.items()}
    assert np.allclose(outputs(given_net), outputs(given_net.with_name("a.onnx")), atol=1e-5)


def test_a_plan_is_applied_in_its_order(given_net: Path) -> None:
    result = prune(given_net, "a", method="l1")
    plan = onnxprune.load_plan(given_net.with_name("a.plan.json"))
    assert plan.arrangement == result.plan.arrangement
    again = call("apply", given_net, given_net.with_name("a.plan.json"), "-o", given_net.with_name("b.onnx"))
    assert again.code == 0
    assert given_net.with_name("a.onnx").read_bytes() == given_net.with_name("b.onnx").read_bytes()


def test_a_plan_of_another_order_is_not_applied_by_halves(given_net: Path) -> None:
    prune(given_net, "a", method="l1")
    model, plan = onnxprune.load(given_net), onnxprune.load_plan(given_net.with_name("a.plan.json"))
    with refused("wrong-model", "onnxprune apply"):
        onnxprune.apply(model, onnxprune.inspect(model), plan)


@pytest.mark.parametrize("order", [[[0, 1, 2, 3]], [[0, 1, 2, 2]] * 3, [], "c", [[0.5]]])
def test_a_plan_with_a_wrong_order_is_refused(given_net: Path, order: Any) -> None:
    prune(given_net, "a", method="l1")
    path = given_net.with_name("a.plan.json")
    plan = json.loads(path.read_text())
    path.write_text(json.dumps({**plan, "arrangement": {"orders": {"c": order}}}))
    refused_call(call("apply", given_net, path, "-o", given_net.with_name("b.onnx")), "make ")
    assert not given_net.with_name("b.onnx").exists()


def test_scores_are_read_again_in_their_order(given_net: Path) -> None:
    saved = given_net.with_name("s.npz")
    first = prune(given_net, "a", method="l1", save_scores=saved)
    again = prune(given_net, "b", scores=saved)
    assert given_net.with_name("a.plan.json").read_bytes() == given_net.with_name("b.plan.json").read_bytes()
    assert lost(again) == lost(first)
    with np.load(saved) as file:
        arrays = dict(file)
    about = json.loads(str(arrays["about"]))
    about["arrangement"]["orders"]["c"] = about["arrangement"]["orders"]["c"][0]
    arrays["about"] = np.asarray(json.dumps(about))
    np.savez(saved, **arrays)
    with refused("bad-scores", "order"):
        prune(given_net, "b", scores=saved)


def test_scores_of_ones_own_are_of_the_order_in_the_file(given_net: Path) -> None:
    saved = given_net.with_name("s.npz")
    scores = {"score:c": np.array([1.0, 3.0, 2.0, 4.0]), "score:d": np.ones(3)}
    np.savez(saved, **scores)  # type: ignore[arg-type]
    result = prune(given_net, "a", scores=saved)
    assert result.plan.arrangement == Arrangement()
    assert result.plan.groups["c"].removed == (0, 2)


def test_nothing_is_left_behind(given_net: Path) -> None:
    prune(given_net, "a", method="l1")
    assert names(given_net.parent) == ["a.onnx", "a.plan.json", "net.onnx"]


def test_what_is_not_seen_to_compute_the_same_stays_as_it_is(given_net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prune(given_net, "a", method="l1")
    monkeypatch.setattr(arranging, "computes_the_same", lambda *_: False)
    assert prune(given_net, "b", method="l1").plan.arrangement == Arrangement()
    applied = call("apply", given_net, given_net.with_name("a.plan.json"), "-o", given_net.with_name("c.onnx"))
    refused_call(applied, "computes something else", "make them again")


def test_a_model_that_cannot_be_run_is_planned_as_it_is(given_net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bool:
        raise InputError("onnxruntime cannot load it", "not-runnable")

    monkeypatch.setattr(arranging, "computes_the_same", fails)
    assert prune(given_net, "a", method="l1", dry_run=True).plan.arrangement == Arrangement()


def test_a_plan_of_another_model_is_told_by_its_digest(given_net: Path) -> None:
    prune(given_net, "a", method="l1")
    plan, other = given_net.with_name("a.plan.json"), given_net.with_name("other.onnx")
    onnx.save(net(GROUPED.replace("Relu(c)", "Sigmoid(c)")), other)
    refused_call(call("apply", other, plan, "-o", given_net.with_name("b.onnx")), "made for another model")


def test_without_data_constants_that_are_added_have_no_say(tmp_path: Path) -> None:
    text = GROUPED.replace("float[12] b0", "float[12] b0, float[1, 12, 1, 1] more").replace(
        "r = Relu(c)", "s = Add(c, more) r = Relu(s)"
    )
    model = net(text)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    filters = onnx.numpy_helper.to_array(weights["w0"]).copy()
    filters[[3, 7, 11]] *= 1e-3
    weights["w0"].CopyFrom(onnx.numpy_helper.from_array(filters, "w0"))
    added = np.ones((1, 12, 1, 1), np.float32)
    added[:, [0, 5, 10]] = 0
    weights["more"].CopyFrom(onnx.numpy_helper.from_array(added, "more"))
    onnx.save(model, tmp_path / "net.onnx")
    result = prune(tmp_path / "net.onnx", "a", method="l1", ratio_for=["c=25%"])
    assert lost(result) == {0: {3}, 1: {3}, 2: {3}}
