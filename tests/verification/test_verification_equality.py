"""Cut equals mask: a right cut passes, every tampered one is caught, and a check without power says so."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Array, analysed, in_half, kept, net, random_feed
from refusals import refused

from onnxprune.analysis.analysis import Analysis
from onnxprune.graph import loaded
from onnxprune.graph.model import read_graph
from onnxprune.pipeline.execution import cut as cutting
from onnxprune.surgery.cut import Cut, cut
from onnxprune.values.axes import BoolArray
from onnxprune.values.equality import Equality
from onnxprune.verification.equality import check_equality
from onnxprune.verification.perturbed import perturbed_model

CHAIN = """(float[n, 3, 6, 6] x) => (float[n, 4] y)
    <float[8, 3, 3, 3] w0, float[8] b0, float[6, 8, 1, 1] w1, float[4, 6] w2, float[4] b2> {
        a = Conv(x, w0, b0)
        r = Relu(a)
        c = Conv(r, w1)
        s = Sigmoid(c)
        p = GlobalAveragePool(s)
        f = Flatten(p)
        y = Gemm<transB = 1>(f, w2, b2)
    }"""

Change = Callable[[Array], None]


KEEP = {"a": kept(8, 1, 4, 6), "c": kept(6, 0, 5)}


def edited(model: onnx.ModelProto, name: str, change: Change) -> onnx.ModelProto:
    """Return a copy of `model` in which one initializer was changed in place."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (tensor,) = (tensor for tensor in copy.graph.initializer if tensor.name == name)
    value = np.array(onnx.numpy_helper.to_array(tensor))
    change(value)
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    return copy


def decided(
    model: onnx.ModelProto, keep: Mapping[str, BoolArray], tamper: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> Equality:
    analysis = analysed(model)
    result = cut(analysis, keep)
    return check_equality(analysis, tamper(result.model), result.masks, [random_feed(model)])


def untouched(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


def test_a_right_cut_is_equal_and_the_check_has_power() -> None:
    found = decided(net(CHAIN), KEEP, untouched)
    assert (found.status, found.where, found.tensor) == ("equal", "outputs", "y")
    assert found.error <= found.tolerance
    assert found.power >= 100 * found.tolerance
    assert json.loads(json.dumps(found.to_json()))["status"] == "equal"


def one_weight(value: Array) -> None:
    value.flat[5] *= 1.01


def swapped(value: Array) -> None:
    value[:, [0, 1]] = value[:, [1, 0]]


@pytest.mark.parametrize(
    ("name", "change"), [("w0", one_weight), ("w1", one_weight), ("w2", one_weight), ("w1", swapped), ("w2", swapped)]
)
def test_a_changed_weight_or_swapped_channels_are_caught(name: str, change: Change) -> None:
    found = decided(net(CHAIN), KEEP, lambda model: edited(model, name, change))
    assert found.status == "different"
    assert found.error > found.tolerance


def test_removing_the_wrong_channel_is_caught() -> None:
    model = net(CHAIN)
    analysis = analysed(model)
    wrong = cut(analysis, {**KEEP, "a": kept(8, 1, 4, 7)})
    found = check_equality(analysis, wrong.model, cut(analysis, KEEP).masks, [random_feed(model)])
    assert found.status == "different"


def test_every_call_of_the_model_counts() -> None:
    """A difference that only the second of two calls shows is found."""
    model = net(CHAIN)
    analysis = analysed(model)
    result = cut(analysis, KEEP)
    tampered = edited(result.model, "w0", one_weight)
    blank = {"x": np.zeros((1, 3, 6, 6), dtype=np.float32)}
    assert check_equality(analysis, tampered, result.masks, [blank]).error <= 1e-5
    assert check_equality(analysis, tampered, result.masks, [blank, random_feed(model)]).status == "different"


def dead(model: onnx.ModelProto, *channels: int) -> onnx.ModelProto:
    """Silence channels of the first convolution."""

    def change(value: Array) -> None:
        value[list(channels)] = 0.0

    return edited(edited(model, "w0", change), "b0", change)


def test_removing_dead_channels_proves_nothing_by_itself() -> None:
    model = dead(net(CHAIN), 1, 4, 6)
    found = decided(model, {"a": KEEP["a"]}, untouched)
    assert found.status == "unproven"
    assert found.power == 0.0


def verified(model: onnx.ModelProto, result: Cut, analysis: Analysis) -> Equality:
    return cutting.verify(loaded.Model(Path("net.onnx"), model, read_graph(model)), analysis, result, None)


def test_dead_channels_are_proven_on_perturbed_weights() -> None:
    model = dead(net(CHAIN), 1, 4, 6)
    analysis = analysed(model)
    found = verified(model, cut(analysis, {"a": KEEP["a"]}), analysis)
    assert (found.status, found.where) == ("equal", "perturbed weights")
    assert found.power >= 100 * found.tolerance


def test_surgery_that_removes_another_dead_channel_is_caught_on_perturbed_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(analysis: Analysis, keep: Mapping[str, BoolArray]) -> Cut:
        right = cut(analysis, keep)
        wrong = cut(analysis, {"a": kept(8, 1, 4, 7)})
        return Cut(wrong.model, right.edits, keep, right.masks)

    model = dead(net(CHAIN), 1, 4, 6, 7)
    analysis = analysed(model)
    keep = {"a": KEEP["a"]}
    result = faulty(analysis, keep)
    assert check_equality(analysis, result.model, result.masks, [random_feed(model)]).status == "unproven"
    monkeypatch.setattr(cutting, "cut", faulty)
    with refused("cut-differs", "'"):
        verified(model, result, analysis)


def test_a_tampered_cut_is_refused_with_the_tensor_and_the_figures() -> None:
    model = net(CHAIN)
    analysis = analysed(model)
    right = cut(analysis, KEEP)
    wrong = Cut(edited(right.model, "w1", swapped), right.edits, right.keep, right.masks)
    assert verified(model, right, analysis).status == "equal"
    with refused("cut-differs", "'y'", "1.0e-05") as caught:
        verified(model, wrong, analysis)
    assert caught.value.exit_code == 3


# The gain makes one unit in the last place of the convolution a turn of the sine.
CHAOTIC = """(float[n, 3, 6, 6] x) => (float[n, 4, 4, 4] y)
    <float[8, 3, 3, 3] w0, float[4, 8, 1, 1] w1, float[4] s, float[4] b, float[4] m, float[4] v,
     float gain = {100000000.0}> {
        a = Conv(x, w0)
        r = Relu(a)
        c = Conv(r, w1)
        e = BatchNormalization(c, s, b, m, v)
        g = Mul(e, gain)
        y = Sin(g)
    }"""


def test_chaotic_outputs_are_checked_layer_by_layer() -> None:
    found = decided(net(CHAOTIC), {"a": KEEP["a"]}, untouched)
    assert (found.status, found.where, found.tensor) == ("equal", "layers", "c")
    assert found.noise <= 1e-3


@pytest.mark.parametrize("change", [one_weight, swapped])
def test_tampering_behind_chaotic_outputs_is_caught_in_the_layers(change: Change) -> None:
    found = decided(net(CHAOTIC), {"a": KEEP["a"]}, lambda model: edited(model, "w1", change))
    assert (found.status, found.where, found.tensor) == ("different", "layers", "c")


def test_sums_in_half_precision_may_round_to_the_other_side() -> None:
    model = in_half(net(CHAIN))
    value = onnx.numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == "b2"))

    def nudged(bias: Array) -> None:
        bias[:] = np.nextafter(value, np.float16(np.inf))

    def moved(bias: Array) -> None:
        bias[:] = value + np.float16(0.05)

    right = decided(model, KEEP, untouched)
    near = decided(model, KEEP, lambda slim: edited(slim, "b2", nudged))
    wrong = decided(model, KEEP, lambda slim: edited(slim, "b2", moved))
    assert (right.status, near.status, wrong.status) == ("equal", "equal", "different")
    assert 1e-5 < near.error < near.tolerance < 5e-3


def test_what_half_precision_made_may_be_handed_out_in_single() -> None:
    model = in_half(net(CHAIN))
    value = onnx.numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == "b2"))
    model.graph.node.append(onnx.helper.make_node("Cast", ["y"], ["z"], to=onnx.TensorProto.FLOAT))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["n", 4]))

    def nudged(bias: Array) -> None:
        bias[:] = np.nextafter(value, np.float16(np.inf))

    found = decided(model, KEEP, lambda slim: edited(slim, "b2", nudged))
    assert (found.status, found.tensor) == ("equal", "z")
    assert found.error > 1e-5


# The first two of 256 places tie, and the order in which they are taken shows in the output.
RANKING = f"""(float[n, 3, 18, 18] x) => (float[n, 4, 200] y)
    <float[8, 3, 3, 3] w0, float[4, 8, 1, 1] w1, float[256] marks = {{{"5, 5, " + ", ".join("4" * 254)}}},
     float[256] late = {{{", ".join("0" * 256)}}}, int64[3] flat = {{0, 4, 256}}, int64[1] k = {{200}}> {{
        a = Conv(x, w0)
        r = Relu(a)
        c = Conv(r, w1)
        f = Reshape(c, flat)
        n0 = ReduceMean<keepdims = 0>(x)
        n1 = Mul(n0, late)
        m = Add(marks, n1)
        v, i = TopK(m, k)
        y = Gather<axis = 2>(f, i)
    }}"""


def lowered(count: int) -> Change:
    """Lower the marks of the first places by rounding."""

    def change(value: Array) -> None:
        value[:count] = -1e-5 / np.mean(random_feed(net(RANKING))["x"])

    return change


def turned_round(value: Array) -> None:
    value[:] = value[::-1].copy()


def test_a_tie_that_is_ranked_the_other_way_is_no_difference() -> None:
    keep = {"a": KEEP["a"]}
    found = decided(net(RANKING), keep, lambda model: edited(model, "late", lowered(1)))
    assert (found.status, found.where) == ("equal", "layers")


@pytest.mark.parametrize(("tensor", "change"), [("w1", one_weight), ("w1", swapped), ("marks", turned_round)])
def test_tampering_with_what_is_ranked_or_taken_by_rank_is_caught(tensor: str, change: Change) -> None:
    found = decided(net(RANKING), {"a": KEEP["a"]}, lambda model: edited(model, tensor, change))
    assert found.status == "different"


def test_choices_by_a_constant_that_loses_channels_and_inputs_that_are_left_out() -> None:
    """A threshold of every channel is cut with it; the last input of the suppression is not given."""
    gate = """(float[n, 3, 6, 6] x, float[1, 4, 4] boxes, float[1, 1, 4] marks)
        => (float[n, 4, 4, 4] y, int64[m, 3] kept)
        <float[8, 3, 3, 3] w0, float[4, 8, 1, 1] w1, float[1, 8, 1, 1] limits, float[8] scale, int64 most = {4}> {
            a = Conv(x, w0)
            g = Greater(a, limits)
            b = Cast<to = 1>(g)
            r = Mul(a, b)
            y = Conv(r, w1)
            kept = NonMaxSuppression(boxes, marks, most)
        }"""
    keep = {"a": KEEP["a"]}
    assert decided(net(gate), keep, untouched).status == "equal"
    found = decided(net(gate), keep, lambda model: edited(model, "w1", one_weight))
    assert (found.status, found.tensor) == ("different", "y")


def test_more_turned_places_than_ties_have_are_a_difference() -> None:
    """All marks are within rounding of each other, so that only how many places turned can tell."""
    text = re.sub(r"marks = \{[^}]*\}", f"marks = {{{', '.join('4' * 256)}}}", RANKING)

    found = decided(net(text), {"a": KEEP["a"]}, lambda model: edited(model, "late", lowered(100)))
    assert (found.status, found.tensor) == ("different", "i")


def test_inner_tensors_are_compared_on_the_kept_channels_alone() -> None:
    """The tensor that the check falls back to loses channels itself."""
    text = CHAOTIC.replace("(float[n, 4, 4, 4] y)", "(float[n, 2, 4, 4] y)").replace(
        "y = Sin(g)", "t = Sin(g) z = Conv(t, w3) k = Mul(z, gain) y = Sin(k)"
    )
    text = text.replace("float[4] s,", "float[2, 4, 1, 1] w3, float[4] s,")
    keep = {"a": KEEP["a"], "c": kept(4, 2)}
    found = decided(net(text), keep, untouched)
    assert (found.status, found.where) == ("equal", "layers")
    wrong = decided(net(text), keep, lambda model: edited(model, "w1", one_weight))
    assert (wrong.status, wrong.where, wrong.tensor) == ("different", "layers", "c")


def test_outputs_of_another_shape_are_infinitely_wrong() -> None:
    model = net(CHAIN)
    analysis = analysed(model)
    result = cut(analysis, KEEP)
    found = check_equality(analysis, net(CHAIN.replace("4, 6]", "3, 6]").replace("float[4] b2", "float[3] b2")),
                           result.masks, [random_feed(model)])  # fmt: skip
    assert (found.status, found.error) == ("different", float("inf"))


@pytest.mark.parametrize("divisors", [(1.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0, 1.0), (1.0, 0.0, np.nan, 1.0)])
def test_values_that_are_not_finite_have_to_be_so_in_both(divisors: tuple[float, ...]) -> None:
    text = CHAIN.replace("y = Gemm<transB = 1>(f, w2, b2)", "h = Gemm<transB = 1>(f, w2, b2) y = Div(h, zero)")
    text = text.replace("float[4] b2>", "float[4] b2, float[4] zero = {1.0, 0.0, 1.0, 1.0}>")
    model = net(text)
    assert decided(model, KEEP, untouched).status == "equal"

    def change(value: Array) -> None:
        value[:] = divisors

    found = decided(model, KEEP, lambda slim: edited(slim, "zero", change))
    assert (found.status, found.error) == ("different", float("inf"))


def test_outputs_that_are_no_floats_do_not_count() -> None:
    text = CHAIN.replace("(float[n, 4] y)", "(float[n, 4] y, int64[n] best)").replace(
        "y = Gemm<transB = 1>(f, w2, b2)", "y = Gemm<transB = 1>(f, w2, b2) best = ArgMax<axis = 1, keepdims = 0>(y)"
    )
    found = decided(net(text), KEEP, untouched)
    assert (found.status, found.tensor) == ("equal", "y")


def test_without_float_outputs_the_layers_are_compared() -> None:
    text = CHAIN.replace("(float[n, 4] y)", "(int64[n] best)").replace(
        "y = Gemm<transB = 1>(f, w2, b2)", "y = Gemm<transB = 1>(f, w2, b2) best = ArgMax<axis = 1, keepdims = 0>(y)"
    )
    found = decided(net(text), KEEP, untouched)
    assert (found.status, found.where) == ("equal", "layers")
    found = decided(net(text), KEEP, lambda model: edited(model, "w1", swapped))
    assert (found.status, found.where, found.tensor) == ("different", "layers", "c")


def test_a_cut_of_nothing_is_unproven_and_without_error() -> None:
    found = decided(net(CHAIN), {}, untouched)
    assert (found.status, found.error, found.where) == ("unproven", 0.0, "outputs")


def weights_of(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_perturbed_weights_keep_shapes_and_types_and_leave_no_channel_dead() -> None:
    model = dead(net(CHAOTIC.replace("a = Conv(x, w0)", "a = Conv(x, w0, b0)").replace("float[4] s", "float[8] b0, float[4] s")), 1, 2)  # noqa: E501  # fmt: skip
    before = model.SerializeToString(deterministic=True)
    old, new = weights_of(model), weights_of(perturbed_model(analysed(model), 0)[0])
    assert model.SerializeToString(deterministic=True) == before
    for name in ("w0", "w1", "b0"):
        assert (new[name].shape, new[name].dtype) == (old[name].shape, old[name].dtype)
        assert (new[name] != old[name]).all(), name
    assert new["gain"] == old["gain"]


def test_variances_stay_positive_when_perturbed() -> None:
    analysis = analysed(net(CHAOTIC))
    for seed in range(20):
        assert (weights_of(perturbed_model(analysis, seed)[0])["v"] > weights_of(analysis.graph.model)["v"]).all()


def test_shaking_is_seeded() -> None:
    analysis = analysed(net(CHAIN))
    first, again, other = (weights_of(perturbed_model(analysis, seed)[0])["w0"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_weights_in_constant_nodes_are_perturbed() -> None:
    value = onnx.numpy_helper.from_array(np.zeros((4, 3), dtype=np.float32), "inner")
    model = net("(float[n, 3] x) => (float[n, 2] y) <float[2, 4] w1> { r = Gemm<transB = 1>(x, w0) y = Gemm<transB = 1>(r, w1) }")  # noqa: E501  # fmt: skip
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w0"], value=value))
    perturbed: Any = perturbed_model(analysed(model), 0)[0]
    assert (onnx.numpy_helper.to_array(perturbed.graph.node[0].attribute[0].t) != 0).all()


@pytest.mark.parametrize("drawn", ["RandomUniformLike(x)", "RandomNormal<shape = [1, 3, 6, 6]>()", "Bernoulli(q)"])
def test_networks_that_draw_random_numbers_draw_the_same_ones(drawn: str) -> None:
    """The runtime seeds a node by its place, and the masked network has more nodes in front of this one."""
    model = net(f"""(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, float[4, 3, 1, 1] w2> {{
            a = Conv(x, w0)
            c = Conv(a, w1)
            q = Sigmoid(x)
            d = {drawn}
            e = Add(x, d)
            f = Conv(e, w2)
            y = Add(c, f)
        }}""")
    before = model.SerializeToString(deterministic=True)
    assert decided(model, {"a": kept(8, 1, 4)}, untouched).status == "equal"
    assert model.SerializeToString(deterministic=True) == before
