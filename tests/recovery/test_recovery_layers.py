"""Recovery on small networks without activations: what linear algebra can give back is given back."""

from typing import Any

import numpy as np
import onnx
import pytest
from nets import analysed, net, run
from numpy.typing import NDArray
from recoveries import Case, case
from refusals import refused

from onnxprune.graph.storage.weights import named_tensors
from onnxprune.recovery.recovery import RECOVERIES, steps

Array = NDArray[Any]
NAMES = ("bias", "fold", "refit")


def redundant(model: onnx.ModelProto, *layers: str, axis: int = 0, scale: float = 0.7) -> onnx.ModelProto:
    """Make the second half of the channels of these constants multiples of the first half."""
    for tensor in model.graph.initializer:
        if tensor.name in layers:
            value = onnx.numpy_helper.to_array(tensor).copy()
            place = axis if value.ndim > 1 else 0
            half = value.shape[place] // 2
            first = np.take(value, range(half), axis=place)
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.concatenate([first, scale * first], place), tensor.name))
    return model


CHAIN = net(
    """(float[n,2,6,6] x) => (float[n,3,6,6] y) <float[8,2,3,3] w, float[8] b, float[3,8,3,3] v, float[3] c>
    { a = Conv<pads=[1,1,1,1]>(x, w, b) y = Conv<pads=[1,1,1,1]>(a, v, c) }"""
)
STRIDED = net(
    """(float[n,2,9,9] x) => (float[n,3,4,4] y) <float[8,2,3,3] w, float[3,8,3,2] v>
    { a = Conv<pads=[1,1,1,1]>(x, w) y = Conv<strides=[2,2], dilations=[1,2], auto_pad="VALID">(a, v) }"""
)
RESIDUAL = net(
    """(float[n,2,6,6] x) => (float[n,3,6,6] y)
    <float[8,2,3,3] w, float[8,8,3,3] u, float[8] d, float[3,8,1,1] v>
    { a = Conv<pads=[1,1,1,1]>(x, w) e = Conv<pads=[1,1,1,1]>(a, u, d) s = Add(a, e) y = Conv(s, v) }"""
)
CONCAT = net(
    """(float[n,2,6,6] x) => (float[n,3,6,6] y) <float[8,2,1,1] w, float[6,2,1,1] u, float[3,14,1,1] v>
    { a = Conv(x, w) e = Conv(x, u) s = Concat<axis=1>(a, e) y = Conv(s, v) }"""
)
NORMALISED = net(
    """(float[n,2,6,6] x) => (float[n,3,6,6] y)
    <float[8,2,3,3] w, float[8] s, float[8] b, float[8] m, float[8] q, float[3,8,3,3] v,
     float[3] s2, float[3] b2, float[3] m2, float[3] q2>
    { a = Conv<pads=[1,1,1,1]>(x, w) e = BatchNormalization(a, s, b, m, q)
      f = Conv<pads=[1,1,1,1]>(e, v) y = BatchNormalization(f, s2, b2, m2, q2) }"""
)
FLATTENED = net(
    """(float[n,2,4,4] x) => (float[n,3] y) <float[8,2,3,3] w, float[8] b, float[3,128] v, float[3] c>
    { a = Conv<pads=[1,1,1,1]>(x, w, b) f = Flatten(a) y = Gemm<transB=1>(f, v, c) }"""
)
TOKENS = net(
    """(float[n,7,5] x) => (float[n,7,3] y) <float[5,8] w, float[8] b, float[8,3] v, float[3] c>
    { a = MatMul(x, w) e = Add(a, b) f = MatMul(e, v) y = Add(f, c) }"""
)
DEPTHWISE = net(
    """(float[n,2,6,6] x) => (float[n,3,6,6] y)
    <float[8,2,1,1] w, float[8,1,3,3] d, float[8] e, float[3,8,1,1] v>
    { a = Conv(x, w) f = Conv<group=8, pads=[1,1,1,1]>(a, d, e) y = Conv(f, v) }"""
)
TRANSPOSED = net(
    """(float[n,2,4,4] x) => (float[n,3,9,9] y) <float[8,2,3,3] w, float[8] b, float[8,3,3,3] v, float[3] c>
    { a = Conv<pads=[1,1,1,1]>(x, w, b) y = ConvTranspose<strides=[2,2]>(a, v, c) }"""
)
GROUPED = net(
    """(float[n,4,6,6] x) => (float[n,4,6,6] y) <float[16,4,1,1] w, float[4,8,3,3] v, float[4] c>
    { a = Conv(x, w) y = Conv<group=2, pads=[1,1,1,1]>(a, v, c) }"""
)
NETS = {
    "chain": (CHAIN, (2, 6, 6)),
    "strided": (STRIDED, (2, 9, 9)),
    "residual": (RESIDUAL, (2, 6, 6)),
    "concat": (CONCAT, (2, 6, 6)),
    "normalised": (NORMALISED, (2, 6, 6)),
    "flattened": (FLATTENED, (2, 4, 4)),
    "tokens": (TOKENS, (7, 5)),
    "depthwise": (DEPTHWISE, (2, 6, 6)),
    "transposed": (TRANSPOSED, (2, 4, 4)),
    "grouped": (GROUPED, (4, 6, 6)),
}


@pytest.mark.parametrize("name", NETS)
def test_a_refit_gives_back(name: str) -> None:
    found = case(*NETS[name])
    before = found.error(found.result.model)
    after = found.error(found.recovered("refit").model)
    assert before > 1e-3, "the cut has to hurt, or there is nothing to see"
    assert after < 0.9 * before


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("chain", "w b"),
        ("strided", "w"),
        ("concat", "w u"),
        ("flattened", "w b"),
        ("tokens", "w b"),
        ("transposed", "w b"),
        ("normalised", "w s b m q"),
    ],
)
@pytest.mark.parametrize("recovery", ["fold", "refit"])
def test_channels_that_say_nothing_new_are_given_back_whole(name: str, made: str, recovery: str) -> None:
    model, shape = NETS[name]
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    layers = made.split()
    for layer in layers:
        # a MatMul has its outputs on the last axis; variances must not change sign
        redundant(copied, layer, axis=1 if name == "tokens" else 0, scale=1.0 if layer in "mq" else 0.7)
    if name == "normalised":
        for layer in ("w", "m"):
            redundant(copied, layer, scale=1.0)
    found = case(copied, shape, n=80)
    assert found.error(found.result.model) > 1e-3
    assert found.error(found.recovered(recovery).model) < 1e-4


def test_a_grouped_layer_is_folded_group_by_group() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(GROUPED)
    tensor = named_tensors(model.graph)["w"]
    value = onnx.numpy_helper.to_array(tensor).copy()
    value[4:8], value[12:16] = 0.5 * value[0:4], -0.3 * value[8:12]  # the second half of each group
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, "w"))
    group = analysed(model).prunable[0]
    keep = {group.name: np.arange(group.size) < group.size // 2}
    found = case(model, (4, 6, 6), keep=keep)
    assert found.error(found.result.model) > 1e-3
    assert found.error(found.recovered("fold").model) < 1e-4


def test_a_depthwise_layer_has_nothing_to_fold_into_and_says_so() -> None:
    found = case(*NETS["depthwise"]).recovered("fold")
    assert found.skipped == {"f": "none of its groups has both removed and kept inputs"}
    assert set(found.solved) == {"y"}


@pytest.mark.parametrize("name", ["chain", "normalised", "tokens", "flattened"])
def test_bias_gives_every_channel_its_mean_and_spread_back(name: str) -> None:
    found = case(*NETS[name])
    whole, slim = found.model, found.recovered("bias").model
    seen = {"x": np.concatenate([call["x"] for call in found.calls[:-1]])}  # the last one judges
    truth, new = run(whole, seen)[0], run(slim, seen)[0]
    old = run(found.result.model, seen)[0]
    axis = 2 if name == "tokens" else 1
    others = tuple(a for a in range(truth.ndim) if a != axis)
    np.testing.assert_allclose(new.mean(others), truth.mean(others), atol=1e-4)
    assert np.abs(old.mean(others) - truth.mean(others)).max() > 1e-2
    ratio = new.std(others) / truth.std(others)
    assert (np.abs(np.log(ratio)) <= np.abs(np.log(old.std(others) / truth.std(others))) + 1e-4).all()


@pytest.mark.parametrize("recovery", NAMES)
@pytest.mark.parametrize("name", NETS)
def test_nothing_but_weights_behind_the_cut_changes(name: str, recovery: str) -> None:
    found = case(*NETS[name])
    slim = found.recovered(recovery).model
    before, after = named_tensors(found.result.model.graph), named_tensors(slim.graph)
    changed = {key for key in after if before[key] != after[key]}
    assert changed
    assert not changed & {"s", "m", "q", "s2", "m2", "q2"}, "of a normalisation only the bias"
    assert "w" not in changed or recovery != "fold", "the first layer reads nothing that was cut"
    for key in changed:
        assert (before[key].dims, before[key].data_type) == (after[key].dims, after[key].data_type)
        after[key].CopyFrom(before[key])
    assert slim.SerializeToString(deterministic=True) == found.result.model.SerializeToString(deterministic=True)


@pytest.mark.parametrize("recovery", NAMES)
def test_the_same_seed_gives_the_same_bytes(recovery: str) -> None:
    found = case(*NETS["residual"])
    first, second = (found.recovered(recovery, seed=3).model.SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("recovery", NAMES)
def test_dead_channels_and_constant_inputs_give_numbers(recovery: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(CHAIN)
    tensor = named_tensors(model.graph)["w"]
    value = onnx.numpy_helper.to_array(tensor).copy()
    value[1] = value[2] = value[6] = 0.0
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, "w"))
    found = case(model, (2, 6, 6))
    assert found.error(found.recovered(recovery).model) <= found.error(found.result.model) * (
        1.5 if recovery == "bias" else 1
    )
    still = Case(model, found.result, [{"x": np.zeros((8, 2, 6, 6), np.float32)}], found.unseen)
    assert np.isfinite(still.error(still.recovered(recovery).model))


def test_more_inputs_than_rows_are_solved_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.recovery.ridge.MOST_INPUTS", 60)
    found = case(*NETS["flattened"])  # 64 kept inputs, 40 samples of one row each
    wide = found.recovered("refit")
    assert "y" in wide.solved
    assert found.error(wide.model) < found.error(found.result.model)


def test_a_system_that_is_too_wide_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.recovery.ridge.MOST_INPUTS", 60)
    monkeypatch.setattr("onnxprune.recovery.ridge.MOST_ELEMENTS", 10)
    found = case(*NETS["flattened"]).recovered("refit")
    assert found.skipped["y"] == "its input is too wide"


def test_a_shared_weight_is_left_as_it_is() -> None:
    model = net(
        """(float[n,2,6,6] x) => (float[n,3,6,6] y) <float[8,2,1,1] w, float[8,8,1,1] u, float[3,8,1,1] v>
        { a = Conv(x, w) e = Conv(a, u) f = Conv(e, u) y = Conv(f, v) }"""
    )
    found = case(model, (2, 6, 6)).recovered("refit")
    assert set(found.skipped) == {"e", "f"}
    assert all("shared" in reason for reason in found.skipped.values())


def test_every_recovery_is_found_by_its_name() -> None:
    assert tuple(RECOVERIES) == ("bias", "fold", "match", "refit")
    assert [step.name for step in steps("refit")] == ["fold", "refit"]
    assert steps("none") == ()
    with refused("unknown-name", "'magic'", "none, bias, fold, match, refit"):
        steps("magic")
