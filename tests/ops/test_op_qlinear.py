"""Ops on integers, as onnxruntime's quantizer writes them and by hand: the groups of the float op, and an exact cut."""

import numpy as np
import onnx
import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, initial, net
from onnxruntime.quantization import QuantType
from quantized_nets import assert_cut_like_its_float_original, assert_stays_quantized, equality, ops, quantized

from onnxprune.graph.layers.quantized import MICROSOFT, OPS
from onnxprune.ops.rules import RULES

BRANCH = ", float[8, 3, 1, 1] w1"
BODIES = {
    "relu": ("t = Relu(a)", ""),
    "leaky": ("t = LeakyRelu<alpha = 0.1>(a)", ""),
    "sigmoid": ("t = Sigmoid(a)", ""),
    "add": ("r = Relu(a) b = Conv(x, w1) t = Add(r, b)", BRANCH),
    "product": ("s = Sigmoid(a) b = Conv(x, w1) t = Mul(s, b)", BRANCH),
    "squeeze and excite": ("g = GlobalAveragePool(a) s = Sigmoid(g) t = Mul(a, s)", ""),
    "average": ("t = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a)", ""),
    "maximum": ("t = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a)", ""),
    "softmax": ("t = Softmax<axis = 3>(a)", ""),
    "depthwise": ("t = Conv<group = 8>(a, wd, bd)", ", float[8, 1, 1, 1] wd, float[8] bd"),
    "grouped": ("t = Conv<group = 2>(a, wg)", ", float[8, 4, 1, 1] wg"),
    "mean": ("g = ReduceMean<axes = [2, 3]>(a) t = Mul(a, g)", ""),
}
EMITTED = {
    "leaky": "QLinearLeakyRelu",
    "sigmoid": "QLinearSigmoid",
    "add": "QLinearAdd",
    "product": "QLinearMul",
    "squeeze and excite": "QLinearGlobalAveragePool",
    "average": "QLinearAveragePool",
    "softmax": "QLinearSoftmax",
}


def images(body: str) -> onnx.ModelProto:
    """Return a float net with one of the bodies between two convolutions."""
    text, weights = BODIES[body]
    return net(f"""(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
        <float[8, 3, 3, 3] w0, float[8] b0, float[4, 8, 1, 1] w2{weights}> {{
            a = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
            {text}
            y = Conv(t, w2)
        }}""")


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("body", BODIES)
def test_convolutions_on_integers_have_the_groups_of_the_float_net(body: str, per_channel: bool) -> None:
    original = images(body)
    model = quantized(original, "QOperator", per_channel=per_channel)
    assert {"QLinearConv", EMITTED.get(body, "QLinearConv")} <= ops(model)
    checked = assert_cut_like_its_float_original(model, original)
    assert checked.analysis.macs() == analysed_macs(original)


def analysed_macs(model: onnx.ModelProto) -> float:
    return assert_cut_equals_mask(model).analysis.macs()


@pytest.mark.parametrize("weight", ["QInt8", "QUInt8"])
def test_dense_layers_on_integers(weight: str) -> None:
    original = net("""(float[n, 5] x) => (float[n, 4] y)
        <float[16, 5] w0, float[16] b0, float[16, 6] w1, float[4, 6] w2, float[4] b2> {
            c = Gemm<transB = 1>(x, w0, b0)
            r = Relu(c)
            m = MatMul(r, w1)
            y = Gemm<transB = 1>(m, w2, b2)
        }""")
    model = quantized(
        original,
        "QOperator",
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=getattr(QuantType, weight),
    )
    assert {"QGemm", "QLinearMatMul"} <= ops(model)
    checked = assert_cut_like_its_float_original(model, original)
    assert group_sizes(model) == [6, 16]
    assert checked.analysis.macs() == 5 * 16 + 16 * 6 + 6 * 4
    assert checked.shape("w1_quantized") == (8, 3)
    assert checked.shape("w1_scale") == checked.shape("w1_zero_point") == (3,)


def test_parts_joined_on_integers_keep_their_places() -> None:
    original = net("""(float[n, 3, 4, 4] x) => (float[n, 4, 4, 4] y)
        <float[8, 3, 1, 1] w0, float[6, 3, 1, 1] w1, float[4, 3, 1, 1] w2, float[4, 18, 1, 1] w3> {
            a = Conv(x, w0)
            b = Conv(x, w1)
            c = Conv(x, w2)
            t = Concat<axis = 1>(a, b, c)
            y = Conv(t, w3)
        }""")
    model = quantized(original, "QOperator", per_channel=True)
    assert "QLinearConcat" in ops(model)
    assert group_sizes(model) == [4, 6, 8]
    assert_cut_like_its_float_original(model, original)


def test_dynamic_quantization_zeroes_in_front_of_the_range() -> None:
    original = images("relu")
    model = quantized(original, "dynamic")
    assert {"DynamicQuantizeLinear", "ConvInteger"} <= ops(model)
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert equality(checked, model).error == 0.0
    kept = checked.keep["a_output_quantized"]
    np.testing.assert_array_equal(checked.value("w0_quantized"), initial(model, "w0_quantized")[kept], strict=True)


def test_dynamic_quantization_of_matrices() -> None:
    original = net("""(float[n, 5, 6] x) => (float[n, 5, 4] y) <float[6, 16] w0, float[16] b0, float[16, 4] w1> {
            c = MatMul(x, w0)
            d = Add(c, b0)
            r = Gelu(d)
            y = MatMul(r, w1)
        }""", opset=20)  # fmt: skip
    model = quantized(original, "dynamic", per_channel=True)
    assert "MatMulInteger" in ops(model)
    assert group_sizes(model) == [16]
    checked = assert_cut_equals_mask(model)
    assert equality(checked, model).error == 0.0
    assert checked.shape("w0_quantized") == (6, 8)
    assert checked.shape("w0_scale") == checked.shape("w0_zero_point") == (8,)


SCALES = "float s = {0.03}, int8 z = {7}, float s2 = {0.05}, int8 z2 = {-9}"


def test_a_choice_between_integers() -> None:
    model = net(
        f"""(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
        <{SCALES}, float half = {{0.5}}, float sw = {{0.01}}, int8 zw = {{0}},
         int8[8, 3, 1, 1] w0, int8[4, 8, 1, 1] w1> {{
            q = QuantizeLinear(x, s, z)
            f = DequantizeLinear(q, s, z)
            xd = ReduceMax<axes = [1]>(f)
            a = QLinearConv(q, s, z, w0, sw, zw, s, z)
            c = Greater(xd, half)
            t = com.microsoft.QLinearWhere(c, a, s, z, a, s, z, s2, z2)
            b = QLinearConv(t, s2, z2, w1, sw, zw, s, z)
            y = DequantizeLinear(b, s, z)
        }}""",
        domains={MICROSOFT: 1},
    )
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert equality(checked, model).status == "equal"
    assert_stays_quantized(model, checked)


def test_a_removed_channel_is_set_to_its_zero_point_and_not_to_zero() -> None:
    model = net(f"""(float[n, 3, 4, 4] x) => (float[n, 4, 4, 4] y)
        <{SCALES}, float sw = {{0.01}}, int8 zw = {{0}}, int8[8, 3, 1, 1] w0, int8[4, 8, 1, 1] w1> {{
            q = QuantizeLinear(x, s, z)
            a = QLinearConv(q, s, z, w0, sw, zw, s2, z2)
            b = QLinearConv(a, s2, z2, w1, sw, zw, s, z)
            y = DequantizeLinear(b, s, z)
        }}""")
    checked = assert_cut_equals_mask(model)
    assert equality(checked, model).steps == 0


def test_scales_that_vary_over_an_activation_freeze() -> None:
    model = net("""(float[n, 3, 4] x) => (float[n, 3, 2] y)
        <float s = {0.03}, int8 z = {0}, int8[4, 8] w0, float[3] sa, int8[3] za, int8[8, 2] w1> {
            q = QuantizeLinear(x, s, z)
            a = QLinearMatMul(q, s, z, w0, s, z, s, z)
            b = QLinearMatMul(a, sa, za, w1, s, z, s, z)
            y = DequantizeLinear(b, s, z)
        }""")
    reasons = frozen_reasons(model)
    assert "'sa' varies within a tensor in a way that is not supported" in reasons["a"]


def test_channels_last_freeze() -> None:
    model = net(
        f"""(float[n, 3, 4, 4] x) => (float[n, 8, 1, 1] y)
        <{SCALES}, float sw = {{0.01}}, int8 zw = {{0}}, int8[8, 3, 1, 1] w0> {{
            q = QuantizeLinear(x, s, z)
            a = QLinearConv(q, s, z, w0, sw, zw, s, z)
            b = com.microsoft.QLinearGlobalAveragePool<channels_last = 1>(a, s, z, s, z)
            y = DequantizeLinear(b, s, z)
        }}""",
        domains={MICROSOFT: 1},
    )
    assert "its channels lie on the last axis" in frozen_reasons(model)["a"]


def test_ops_that_hide_their_layer_freeze() -> None:
    model = net(
        """(float[n, 4] x) => (float[n, 2] y) <float[4, 8] w0, int8[8, 2] w1, float s = {0.01}> {
            a = MatMul(x, w0)
            y = com.microsoft.DynamicQuantizeMatMul(a, w1, s)
        }""",
        domains={MICROSOFT: 1},
    )
    assert "op of a custom domain" in frozen_reasons(model)["a"]


def test_every_quantized_op_has_a_rule_and_stands_for_an_op_that_has_one() -> None:
    for domain, op in OPS:
        assert (f"{domain}.{op}" if domain else op) in RULES
