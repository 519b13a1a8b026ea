"""Cut equals mask in quantized networks: exact or within one step, with power, and every planted bug caught."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Array, analysed, initial, net, random_feed, random_keep
from quantized_nets import quantized

from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.weights import NO_WEIGHTS
from onnxprune.report.blocks import Lines
from onnxprune.report.sections.verification import verification_lines
from onnxprune.surgery.cut import Cut, cut
from onnxprune.surgery.mask import masked_model
from onnxprune.values.equality import Equality
from onnxprune.verification.equality import _figures, _Models, check_equality
from onnxprune.verification.overflow import with_half_weights
from onnxprune.verification.perturbed import perturbed_model

FLOAT = """(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
    <float[16, 3, 3, 3] w0, float[16] b0, float[16, 16, 1, 1] w1, float[16] b1, float[4, 16, 1, 1] w2> {
        a = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
        r = Relu(a)
        b = Conv(r, w1, b1)
        s = Sigmoid(b)
        y = Conv(s, w2)
    }"""


def tampered(model: onnx.ModelProto, changes: Mapping[str, Callable[[Array], Array]]) -> onnx.ModelProto:
    """Return a copy of `model` in which the named initializers were changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in changes:
            value = changes[tensor.name](onnx.numpy_helper.to_array(tensor))
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    return copy


def decided(model: onnx.ModelProto, tamper: Callable[[Cut], onnx.ModelProto] = lambda result: result.model) -> Equality:
    analysis = analysed(model)
    result = cut(analysis, random_keep(analysis))
    return check_equality(analysis, tamper(result), result.masks, [random_feed(model, free={"n": 4})])


def said(found: Equality) -> str:
    lines = verification_lines(found)
    assert isinstance(lines, Lines)
    return " ".join(lines.lines)


@pytest.mark.parametrize("how", ["QDQ", "QOperator"])
def test_integer_kernels_agree_in_every_bit(how: str) -> None:
    found = decided(quantized(net(FLOAT), how, per_channel=True))
    assert (found.status, found.error, found.dtype, found.steps, found.where) == ("equal", 0.0, "int8", 0, "outputs")
    assert said(found) == "Verification: cut equals mask: exact in int8, checked on the outputs."
    assert found.to_json()["dtype"] == "int8"


@pytest.mark.parametrize("how", ["QDQ", "QOperator", "dynamic"])
@pytest.mark.parametrize("seed", range(3))
def test_weights_of_8_bits_agree_on_processors_whose_sums_overflow(how: str, seed: int) -> None:
    found = decided(quantized(net(FLOAT, seed=seed), how, per_channel=True, reduce_range=False))
    assert found.status == "equal"


def test_weights_are_halved_where_they_are_stored_and_where_they_are_rounded() -> None:
    model = net(
        """(float[1, 4] x) => (float[1, 2] y)
        <int8[4, 3] w, float s = {0.5}, int8 z = {0}, float[3, 2] v> {
            a = DequantizeLinear(w, s, z)
            b = MatMul(x, a)
            q = QuantizeLinear(v, s, z)
            c = DequantizeLinear(q, s, z)
            y = MatMul(b, c)
        }"""
    )
    half = with_half_weights(model, NO_WEIGHTS).proto
    np.testing.assert_array_equal(initial(half, "w"), initial(model, "w") >> 1)
    np.testing.assert_array_equal(initial(half, "v"), initial(model, "v") / 2)
    floats = net(FLOAT)
    assert with_half_weights(floats, NO_WEIGHTS).proto is floats


def test_integers_that_no_product_reads_are_as_they_were() -> None:
    """A mask of ones would become one of zeros, and a divisor of one infinite."""
    model = net("""(float[2, 5] x) => (float[2, 4] y) <float[5, 8] w0, int8[1, 8] q, float[8, 4] w1> {
            h = MatMul(x, w0)
            d = Cast<to = 1>(q)
            k = Div(h, d)
            y = MatMul(k, w1)
        }""")
    assert with_half_weights(model, NO_WEIGHTS).proto is model


def shifted(value: Array) -> Array:
    return np.roll(value, 1, axis=0)


BUGS: dict[str, dict[str, Callable[[Array], Array]]] = {
    "scales of the next channel": {"w0_scale": shifted},
    "integers of the next channel": {"w1_quantized": shifted},
    "columns of the next channel": {"w2_quantized": lambda value: np.roll(value, 1, axis=1)},
    "bias of the next channel": {"b0_quantized": shifted},
    "weights off by a few steps": {"w1_quantized": lambda value: (value // 2).astype(value.dtype)},
}


@pytest.mark.parametrize("how", ["QDQ", "QOperator"])
@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_found(bug: str, how: str) -> None:
    model = quantized(net(FLOAT), how, per_channel=True)
    stored = {tensor.name for tensor in model.graph.initializer}
    assert BUGS[bug].keys() <= stored
    found = decided(model, lambda result: tampered(result.model, BUGS[bug]))
    assert found.status == "different"
    assert found.steps > 1


def test_a_scale_cut_by_a_shifted_mask_is_found() -> None:
    model = quantized(net(FLOAT), "QDQ", per_channel=True)
    scale = next(onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "w1_scale")

    def wrong(result: Cut) -> onnx.ModelProto:
        (mask,) = (mask for axis, mask in result.masks.items() if axis.ref.name == "w1_scale")
        return tampered(result.model, {"w1_scale": lambda value: scale[np.roll(mask, 1)]})

    assert decided(model, wrong).status == "different"


FLOAT_SUMS = """(float[n, 3, 12, 12] x) => (float[n, 8, 12, 12] y)
    <float s = {0.0004}, uint16 z = {32768}, float[48, 3, 3, 3] w0, float[48, 48, 3, 3] w1, float[48, 48, 3, 3] w2,
     float[8, 48, 1, 1] w3> {
        a = Conv<pads = [1, 1, 1, 1]>(x, w0)
        qa = QuantizeLinear(a, s, z)
        da = DequantizeLinear(qa, s, z)
        b = Conv<pads = [1, 1, 1, 1]>(da, w1)
        qb = QuantizeLinear(b, s, z)
        db = DequantizeLinear(qb, s, z)
        c = Conv<pads = [1, 1, 1, 1]>(db, w2)
        qc = QuantizeLinear(c, s, z)
        dc = DequantizeLinear(qc, s, z)
        d = Conv(dc, w3)
        qd = QuantizeLinear(d, s, z)
        y = DequantizeLinear(qd, s, z)
    }"""


def test_a_float_sum_may_be_rounded_to_the_other_side() -> None:
    found = decided(net(FLOAT_SUMS, opset=21, ir=10))
    assert found.status == "equal"
    assert found.steps == 1
    assert found.dtype == "uint16"
    assert found.power >= 10 * found.tolerance
    assert "within 1 step of uint16" in said(found)


def test_bugs_are_found_where_one_step_is_allowed() -> None:
    model = net(FLOAT_SUMS, opset=21, ir=10)
    for name in ("w1", "w2", "w3"):
        wrong = partial(with_columns_shifted, name)
        assert decided(model, wrong).status == "different"


def with_columns_shifted(name: str, result: Cut) -> onnx.ModelProto:
    return tampered(result.model, {name: lambda value: np.roll(value, 1, axis=1)})


def test_steps_that_add_up_are_taken_apart_layer_by_layer() -> None:
    # The last layer's steps are so much finer that one step of an inner layer makes several of them.
    text = FLOAT_SUMS.replace("<float s", "<float fine = {0.00002}, float s")
    text = text.replace("(d, s, z)", "(d, fine, z)").replace("(qd, s, z)", "(qd, fine, z)")
    model = net(text, opset=21, ir=10)
    analysis = analysed(model)
    result = cut(analysis, random_keep(analysis))
    feeds, masked = [random_feed(model, free={"n": 4})], masked_model(analysis, result.masks)
    models = _Models(model, masked, StoredModel(result.model, result.weights))
    (whole,) = _figures(analysis, models, result.masks, feeds, ["y"])
    assert whole.steps > 1
    found = check_equality(analysis, result.model, result.masks, feeds)
    assert (found.status, found.where, found.steps) == ("equal", "layers", 1)
    wrong = tampered(result.model, {"w1": lambda value: np.roll(value, 1, axis=1)})
    assert check_equality(analysis, wrong, result.masks, feeds).status == "different"


def test_dead_channels_are_checked_on_perturbed_integers() -> None:
    model = quantized(net(FLOAT), "QDQ", per_channel=True)
    dead = tampered(model, {"b0_quantized": lambda value: np.full_like(value, -(10**8))})
    analysis = analysed(dead)
    (first,) = (g.name for g in analysis.prunable if any(m.axis.ref.name == "w0_quantized" for m in g.members))
    keep = {first: random_keep(analysis)[first]}
    result = cut(analysis, keep)
    feeds = [random_feed(dead, free={"n": 4})]
    assert check_equality(analysis, result.model, result.masks, feeds).status == "unproven"
    perturbed, _ = perturbed_model(analysis, seed=0)
    before = {tensor.name: tensor for tensor in dead.graph.initializer}
    changed = {
        t.name for t in perturbed.graph.initializer if t.SerializeToString() != before[t.name].SerializeToString()
    }
    assert changed == {"w0_quantized", "b0_quantized", "w1_quantized", "b1_quantized", "w2_quantized"}


def test_quantized_outputs_are_compared_as_integers() -> None:
    model: Any = quantized(net(FLOAT), "QOperator")
    (last,) = (node for node in model.graph.node if "y" in node.output)
    integers = last.input[0]
    model.graph.node.remove(last)
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(integers, onnx.TensorProto.INT8, ["n", 4, 6, 6]))
    found = decided(model)
    assert (found.status, found.dtype, found.tensor) == ("equal", "int8", integers)
    wrong = decided(model, lambda result: tampered(result.model, {"w2_quantized": lambda v: np.roll(v, 1, axis=1)}))
    assert wrong.status == "different"
