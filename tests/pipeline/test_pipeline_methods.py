"""Every method end to end on the sample models: shares, budgets, its own rule, with data and without."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import net
from places import CALIB, CONVNET, RESNET
from refusals import refused

import onnxprune
from onnxprune.importance.method import METHODS
from onnxprune.values.preprocess import Preprocess

WITH_RULE = sorted(name for name, method in METHODS.items() if method.threshold is not None)
WITHOUT_DATA = sorted(name for name, method in METHODS.items() if not method.needs_data(method.settle({})))
REFUSED = {"bn-scale"}  # the sample models have their normalisations folded in
ALL = sorted(set(METHODS) - REFUSED)


def prune(model: Path, method: str, **more: Any) -> onnxprune.Result:
    """Choose and cut; recovery does not depend on the method and has its own tests."""
    return onnxprune.prune(model, method=method, **{"preprocess": "unit", "round_to": 1, "recovery": "none", **more})


def sound(result: onnxprune.Result) -> None:
    assert result.equality is not None
    assert result.equality.status == "equal"
    assert result.output is not None
    assert result.output.exists()
    assert result.plan.removed > 0


@pytest.mark.parametrize("method", ALL)
def test_every_method_holds_a_budget(tmp_path: Path, method: str) -> None:
    result = prune(RESNET, method, data=CALIB, macs=0.6, output=tmp_path / "a.onnx")
    sound(result)
    assert 0.55 < result.plan.reached["macs"] <= 0.6
    assert result.plan.method == method


@pytest.mark.parametrize("method", ALL)
def test_every_method_takes_a_share_of_every_group(tmp_path: Path, method: str) -> None:
    result = prune(CONVNET, method, data=CALIB, ratio=0.25, output=tmp_path / "a.onnx")
    sound(result)
    for group in result.plan.groups.values():
        assert group.kept == int(group.size * 0.75)


@pytest.mark.parametrize("method", ALL)
def test_every_method_obeys_blocks_and_two_budgets_at_once(method: str) -> None:
    model = onnxprune.load(RESNET)
    analysis = onnxprune.inspect(model)
    data = onnxprune.open_data(CALIB, model.graph.input_specs, Preprocess())
    scores = onnxprune.score(analysis, onnxprune.collect(analysis, data, method), method)
    for name, values in scores.values.items():
        assert np.isfinite(values).all(), name
    plan = onnxprune.plan(model, analysis, scores, onnxprune.Budget(ratio=0.25, macs=0.5), method)
    assert plan.reached["macs"] <= 0.5
    for group in plan.groups.values():
        assert group.kept <= group.size * 0.75 + 8
        assert group.kept % 8 == 0 or group.kept == group.size or group.kept < 8


def test_the_methods_with_a_rule_are_these() -> None:
    assert WITH_RULE == ["class-aware", "entropy"]
    assert WITHOUT_DATA == ["bn-scale", "fpgm", "l1", "l2", "random"]


@pytest.mark.parametrize("method", sorted(set(ALL) - set(WITH_RULE)))
def test_a_method_without_a_rule_takes_no_multiple_of_one(method: str) -> None:
    with refused("conflicting-options", "alpha=", f"{method} has none"):
        prune(CONVNET, method, data=CALIB, alpha=1.0)


def test_the_rule_of_class_aware_removes_what_matters_for_few_classes_up_to_its_cap(tmp_path: Path) -> None:
    strict = {"threshold": 0.9}  # an ordinarily trained net has hardly a filter that matters for less than 0.3 C
    capped = prune(CONVNET, "class-aware", data=CALIB, alpha=1.0, options=strict, output=tmp_path / "a.onnx")
    free = prune(
        CONVNET, "class-aware", data=CALIB, alpha=1.0, options={**strict, "cap": 1.0}, output=tmp_path / "b.onnx"
    )
    sound(capped)
    channels = sum(group.size for group in capped.plan.groups.values())
    assert capped.plan.removed <= 0.1 * channels < free.plan.removed
    by_budget = prune(CONVNET, "class-aware", data=CALIB, ratio=0.5, output=tmp_path / "c.onnx")
    assert by_budget.plan.removed > 0.4 * channels, "a budget knows no cap"


@pytest.mark.parametrize("method", sorted(set(WITHOUT_DATA) - REFUSED))
def test_methods_that_need_no_data_run_without(tmp_path: Path, method: str) -> None:
    result = prune(CONVNET, method, macs=0.5, output=tmp_path / "a.onnx")
    sound(result)
    assert result.quality is None
    assert result.data is None
    shares = prune(CONVNET, method, ratio=0.5, output=tmp_path / "b.onnx")
    beside = prune(CONVNET, method, ratio=0.5, data=CALIB, output=tmp_path / "c.onnx")
    assert beside.plan.groups == shares.plan.groups


# Three channels of `a` say all that its twelve do; each one of `r` says something of its own.
REDUNDANT = """(float[n, 3, 6, 6] x) => (float[n, 12, 6, 6] y)
    <float[12, 3, 1, 1] w, float[12, 12, 1, 1] v, float[12, 12, 1, 1] u> {
        a = Conv(x, w)
        c = Conv(a, v)
        r = Relu(c)
        y = Conv(r, u)
    }"""


@pytest.mark.parametrize("method", sorted(set(ALL) - {"taylor", "fisher"}))  # this net has no class scores to lose
def test_with_data_widths_follow_from_what_the_next_layers_lose(tmp_path: Path, method: str) -> None:
    onnx.save(net(REDUNDANT), tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(160, 3, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=images, y=np.arange(160) % 4)
    model = onnxprune.load(tmp_path / "net.onnx")
    analysis = onnxprune.inspect(model)
    data = onnxprune.open_data(tmp_path / "data.npz", model.graph.input_specs, Preprocess())

    def widths(method: str, **how: Any) -> dict[str, int]:
        scores = onnxprune.score(analysis, onnxprune.collect(analysis, data, method, **how), method)
        plan = onnxprune.plan(model, analysis, scores, onnxprune.Budget(macs=0.5), method, round_to=1)
        assert plan.reached["macs"] <= 0.5
        return {name: group.kept for name, group in plan.groups.items()}

    found = widths(method)
    assert found["a"] <= 4 < 8 <= found["c"]
    if method not in ("reconstruction", "catro", "class-aware"):  # these rate channels beside each other
        assert widths(method, widths=False)["a"] > 4, "one threshold on scores cannot see that"


def test_methods_that_need_data_say_so_and_test_data_alone_is_not_enough() -> None:
    for method in ("entropy", "catro"):
        with refused("no-data"):
            prune(CONVNET, method, macs=0.5)
    with refused("no-data"):
        prune(CONVNET, "l1", macs=0.5, test=CALIB)


def test_a_model_without_normalisations_is_refused_by_their_scales() -> None:
    with refused("wrong-method", "bn-scale", "BatchNormalization"):
        prune(CONVNET, "bn-scale", macs=0.5)


def test_the_curves_of_a_method_decide_its_widths_and_its_choice_the_channels() -> None:
    model = onnxprune.load(RESNET)
    analysis = onnxprune.inspect(model)
    data = onnxprune.open_data(CALIB, model.graph.input_specs, Preprocess())
    options = {"widths": "greedy", "impact": "single"}
    scores = onnxprune.score(analysis, onnxprune.collect(analysis, data, "catro", options), "catro", options)
    plan = onnxprune.plan(model, analysis, scores, onnxprune.Budget(macs=0.5), "catro", options, round_to=1)
    assert scores.choose is not None
    shares = {round(group.kept / group.size, 2) for group in plan.groups.values()}
    assert len(shares) > 2, "widths differ from layer to layer"
    for name, mask in plan.keep().items():
        assert mask.tolist() == scores.choose(name, int(mask.sum())).tolist()
