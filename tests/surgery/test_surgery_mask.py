"""The mask oracle: zeros immediately before every sum, nothing resized, original untouched."""

import numpy as np
import onnx
from nets import analysed, net, random_feed, run

from onnxprune.surgery.mask import masked_model

TEXT = """(float[n, 3] x) => (float[n, 4] y)
    <float[3, 4] w0, float[4] b0, float[4, 4] w1> {
        c = MatMul(x, w0)
        d = Add(c, b0)
        s = Sigmoid(d)
        y = MatMul(s, w1)
    }"""


def test_masked_channels_count_nothing_whatever_the_activation_of_zero_is() -> None:
    model = net(TEXT)
    analysis = analysed(model)
    keep = np.array([True, False, True, False])
    masked = masked_model(analysis, analysis.axis_masks({"c": keep}))
    onnx.checker.check_model(masked, full_check=True)
    assert [node.op_type for node in masked.graph.node] == ["MatMul", "Add", "Sigmoid", "Mul", "MatMul"]
    w0, b0, w1 = (onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    feed = random_feed(model)
    hidden = 1 / (1 + np.exp(-(feed["x"] @ w0 + b0)))
    np.testing.assert_allclose(run(masked, feed)[0], hidden[:, keep] @ w1[keep], rtol=1e-5, atol=1e-6)
    assert len(model.graph.node) == 4


def test_nothing_masked_is_the_model_itself() -> None:
    model = net(TEXT)
    assert masked_model(analysed(model), {}).SerializeToString() == model.SerializeToString()


def test_every_reader_that_sums_is_masked_and_no_other() -> None:
    model = net(
        """(float[n, 3] x) => (float[n, 2] y, float[n, 1] z, float[n, 2] v)
        <float[3, 4] w0, float[4, 2] w1, float[4, 2] w2, int64[1] one = {1}> {
            c = MatMul(x, w0)
            y = MatMul(c, w1)
            z = ReduceL1(c, one)
            r = Relu(c)
            v = Gemm(r, w2)
        }""",
        opset=18,
    )
    analysis = analysed(model)
    masked = masked_model(analysis, analysis.axis_masks({"c": np.array([True, True, False, True])}))
    reads = {node.output[0]: node.input[0] for node in masked.graph.node}
    assert reads["y"] == reads["z"] == "c/onnxprune_masked_1"
    assert reads["r"] == "c"
    assert reads["v"] == "r/onnxprune_masked_1"


def test_two_axes_of_one_tensor_are_masked_together() -> None:
    model = net("""(float[1, 3, 4] x) => (float y) <float[5, 3] w0, float[4, 6] w1> {
            a = MatMul(w0, x)
            c = MatMul(a, w1)
            s = Sigmoid(c)
            y = ReduceSum<keepdims = 0>(s)
        }""")
    analysis = analysed(model)
    keep = {"a": np.array([True, False, True, True, False]), "c": np.array([True] * 5 + [False])}
    masked = masked_model(analysis, analysis.axis_masks(keep))
    constant = _factor(masked, "s/onnxprune_masked_1_2")
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(constant)[0], np.outer(keep["a"], keep["c"]).astype(np.float32)
    )


def test_the_mask_has_the_type_of_what_it_masks() -> None:
    model = net(TEXT.replace("float[", "double["))
    analysis = analysed(model)
    masked = masked_model(analysis, analysis.axis_masks({"c": np.array([True, False, True, False])}))
    assert _factor(masked, "s/onnxprune_masked_1").data_type == onnx.TensorProto.DOUBLE


def _factor(masked: onnx.ModelProto, product: str) -> onnx.TensorProto:
    """Return the constant that makes `product` a masked tensor."""
    node = next(node for node in masked.graph.node if product in node.output)
    return next(tensor for tensor in masked.graph.initializer if tensor.name == node.input[1])
