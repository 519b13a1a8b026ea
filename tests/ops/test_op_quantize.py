"""QuantizeLinear and DequantizeLinear: weights stay integers, and their scales and zero points go along."""

import numpy as np
import onnx
import pytest
from nets import Checked, assert_cut_equals_mask, frozen_reasons, group_sizes, initial, net
from onnxruntime.quantization import QuantType
from quantized_nets import assert_cut_like_its_float_original, assert_stays_quantized, equality, ops, quantized

from onnxprune.graph.layers.quantized import MICROSOFT

FLOAT = """(float[n, 3, 6, 6] x) => (float[n, 4] y)
    <float[8, 3, 3, 3] w0, float[8] b0, float[8, 8, 1, 1] w1, float[8, 1, 3, 3] wd, float[4, 8] w2, float[4] b2> {
        a = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
        r = Relu(a)
        b = Conv(r, w1)
        s = Add(b, a)
        d = Conv<group = 8>(s, wd)
        p = GlobalAveragePool(d)
        f = Flatten(p)
        y = Gemm<transB = 1>(f, w2, b2)
    }"""


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(
    ("activation", "weight"),
    [("QUInt8", "QInt8"), ("QInt8", "QInt8"), ("QUInt8", "QUInt8"), ("QInt16", "QInt8"), ("QUInt8", "QInt4")],
)
def test_convolutions_between_quantizations(activation: str, weight: str, per_channel: bool) -> None:
    original = net(FLOAT, opset=21, ir=10)
    types = {"activation_type": getattr(QuantType, activation), "weight_type": getattr(QuantType, weight)}
    model = quantized(original, "QDQ", per_channel=per_channel, **types)
    checked = assert_cut_like_its_float_original(model, original)
    kept = checked.keep["r"] if "r" in checked.keep else next(iter(checked.keep.values()))
    assert kept.sum() == 4
    before, after = initial(model, "w0_quantized"), checked.value("w0_quantized")
    np.testing.assert_array_equal(after, before[kept], strict=True)
    if per_channel:
        for name in ("w0_scale", "w0_zero_point", "b0_quantized", "b0_quantized_scale"):
            np.testing.assert_array_equal(checked.value(name), initial(model, name)[kept], strict=True)
    assert [node.op_type for node in checked.model.graph.node] == [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    "options",
    [{"DedicatedQDQPair": True}, {"AddQDQPairToWeight": True}, {"QuantizeBias": False}, {"UseQDQContribOps": True}],
    ids=lambda options: next(iter(options)),
)
def test_other_ways_of_the_quantizer(options: dict[str, bool]) -> None:
    original = net(FLOAT)
    model = quantized(original, "QDQ", per_channel=True, extra_options=options)
    assert group_sizes(model) == group_sizes(original)
    checked = assert_cut_equals_mask(model, powerful=False)
    assert equality(checked, model).status == "equal"
    assert equality(checked, model).steps == 0


def test_weights_that_a_graph_transposes_after_dequantizing() -> None:
    model = net("""(float[n, 5] x) => (float[n, 4] y)
        <int8[16, 5] w0, float[16] s0, int8[4, 16] w1, float s1 = {0.01}> {
            d0 = DequantizeLinear<axis = 0>(w0, s0)
            t0 = Transpose(d0)
            a = MatMul(x, t0)
            r = Relu(a)
            d1 = DequantizeLinear(w1, s1)
            t1 = Transpose<perm = [1, 0]>(d1)
            y = MatMul(r, t1)
        }""")
    assert group_sizes(model) == [16]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (8, 5)
    assert checked.shape("s0") == (8,)
    assert checked.shape("w1") == (4, 8)
    assert checked.analysis.params() == 16 * 5 + 4 * 16
    assert checked.analysis.macs() == 16 * 5 + 4 * 16


def test_a_scale_shared_by_two_layers_is_copied_where_they_lose_different_channels() -> None:
    model = net("""(float[n, 5] x) => (float[n, 8] y) <int8[5, 8] w0, int8[8, 8] w1, int8[8, 8] w2, float[8] s> {
            d0 = DequantizeLinear(w0, s)
            a = MatMul(x, d0)
            d1 = DequantizeLinear<axis = -1>(w1, s)
            b = MatMul(a, d1)
            d2 = DequantizeLinear<axis = 0>(w2, s)
            y = MatMul(b, d2)
        }""")
    assert group_sizes(model) == [8, 8]
    checked = assert_cut_equals_mask(model)
    assert set(checked.result.edits.copies.values()) == {"s"}
    assert_stays_quantized(model, checked)


def blocked(kind: str, rows: int, block: int, scale_rows: int) -> onnx.ModelProto:
    """Return two layers; the second one's weights are quantized in blocks along the channels of the first."""
    return net(
        f"""(float[n, 5] x) => (float[n, 6] y)
        <float[5, {rows}] w0, {kind}[{rows}, 6] w1, float[{scale_rows}, 6] s1> {{
            a = MatMul(x, w0)
            d1 = DequantizeLinear<axis = 0, block_size = {block}>(w1, s1)
            y = MatMul(a, d1)
        }}""",
        opset=21,
        ir=10,
    )


@pytest.mark.parametrize("kind", ["int8", "int4", "uint4"])
def test_channels_of_a_block_go_together(kind: str) -> None:
    model = blocked(kind, 24, 4, 6)
    assert group_sizes(model) == [6]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1") == (12, 6)
    assert checked.shape("s1") == (3, 6)
    assert kept_whole(checked, 4)


def kept_whole(checked: Checked, block: int) -> bool:
    (mask,) = (mask for axis, mask in checked.result.masks.items() if axis.ref.name == "w1" and axis.dim == 0)
    return bool(np.all(mask.reshape(-1, block).all(axis=1) == mask.reshape(-1, block).any(axis=1)))


def test_blocks_along_the_other_axis_leave_single_channels() -> None:
    model = net(
        """(float[n, 8] x) => (float[n, 4] y) <int4[8, 6] w0, float[2, 6] s0, int4[2, 6] z0, float[6, 4] w1> {
            d0 = DequantizeLinear<axis = 0, block_size = 4>(w0, s0, z0)
            a = MatMul(x, d0)
            y = MatMul(a, w1)
        }""",
        opset=21,
        ir=10,
    )
    assert group_sizes(model) == [6]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (8, 3)
    assert checked.shape("s0") == checked.shape("z0") == (2, 3)


def test_four_bits_in_a_constant_node() -> None:
    model = blocked("int4", 24, 4, 6)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == "w1")
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w1"], value=tensor))
    model.graph.initializer.remove(tensor)
    checked = assert_cut_equals_mask(model)
    stored = checked.attribute("w1", "value")
    assert (stored.data_type, list(stored.dims), len(stored.raw_data)) == (onnx.TensorProto.INT4, [12, 6], 36)


@pytest.mark.parametrize("kind", ["float8e4m3fn", "float8e5m2"])
def test_weights_of_eight_bit_floats(kind: str) -> None:
    model = net(
        f"""(float[n, 5] x) => (float[n, 4] y) <{kind}[5, 8] w0, float[8] s0, {kind}[8, 4] w1, float s1 = {{0.5}}> {{
            d0 = DequantizeLinear<axis = 1>(w0, s0)
            a = MatMul(x, d0)
            d1 = DequantizeLinear(w1, s1)
            y = MatMul(a, d1)
        }}""",
        opset=19,
        ir=9,
    )
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (5, 4)
    assert checked.analysis.params() == 5 * 8 + 8 * 4


def test_scales_of_another_shape_freeze() -> None:
    model = net("""(float[n, 5] x) => (float[n, 4] y) <int8[5, 8] w0, float[1, 8] s0, float[8, 4] w1> {
            d0 = DequantizeLinear(w0, s0)
            a = MatMul(x, d0)
            y = MatMul(a, w1)
        }""", opset=13)  # fmt: skip
    (reason,) = [reason for name, reason in frozen_reasons(model).items() if name == "a"]
    assert "the shape of 's0' fits neither the tensor nor one of its axes" in reason


def test_quantization_of_old_opsets_has_one_scale() -> None:
    model = net("""(float[n, 3, 4, 4] x) => (float[n, 4, 4, 4] y)
        <int8[8, 3, 1, 1] w0, float sw = {0.01}, int8 zw = {0}, float s = {0.02}, uint8 z = {120},
         float[4, 8, 1, 1] w1> {
            d0 = DequantizeLinear(w0, sw, zw)
            a = Conv(x, d0)
            q = QuantizeLinear(a, s, z)
            d = DequantizeLinear(q, s, z)
            y = Conv(d, w1)
        }""", opset=10)  # fmt: skip
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("w0") == (4, 3, 1, 1)


def test_quantization_of_the_runtimes_own_domain() -> None:
    model = quantized(net(FLOAT), "QDQ", extra_options={"UseQDQContribOps": True})
    assert {node.domain for node in model.graph.node if node.op_type == "DequantizeLinear"} == {MICROSOFT}
    assert "DequantizeLinear" in ops(model)
    assert_cut_like_its_float_original(model, net(FLOAT))
