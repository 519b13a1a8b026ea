"""Layers that onnxruntime has fused with activations are written out, and compute what they did."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from nets import analysed, assert_cut_equals_mask, group_sizes, net, random_feed, run
from refusals import refused

from onnxprune.graph.fused import unfused
from onnxprune.graph.loaded import load

DOMAINS = {"com.microsoft": 1}


def optimised(path: Path, model: onnx.ModelProto, level: ort.GraphOptimizationLevel) -> Path:
    """Save what onnxruntime makes of a model."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return path


@pytest.mark.parametrize("opset", [10, 17])
@pytest.mark.parametrize(
    "activation",
    [
        'activation = "Relu"', 'activation = "Clip", activation_params = [-0.5, 0.5]', 'activation = "Tanh"',
        'activation = "LeakyRelu", activation_params = [0.2]', 'activation = "Sigmoid"', "group = 1",
        'activation = "HardSigmoid", activation_params = [0.3, 0.4]',
    ],
)  # fmt: skip
@pytest.mark.parametrize("operands", ["w1", "w1, b1", "w1, b1, z"])
def test_convolutions_compute_the_same(opset: int, activation: str, operands: str) -> None:
    model = net(
        f"""(float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y)
        <float[6, 3, 1, 1] w0, float[8, 6, 3, 3] w1, float[8] b1, float[8, 3, 1, 1] w2, float[4, 8, 1, 1] w3> {{
            c = Conv(x, w0)
            z = Conv(x, w2)
            d = com.microsoft.FusedConv<pads = [1, 1, 1, 1], {activation}>(c, {operands})
            e = Add(d, z)
            y = Conv(e, w3)
        }}""",
        opset=opset,
        domains=DOMAINS,
    )
    plain, count = unfused(model)
    assert count == 1
    assert not any(node.domain for node in plain.graph.node)
    feed = random_feed(model)
    np.testing.assert_allclose(run(plain, feed)[0], run(model, feed)[0], rtol=1e-5, atol=1e-6)
    assert group_sizes(plain) == [6, 8]
    assert_cut_equals_mask(plain)


def test_gemms_compute_the_same() -> None:
    model = net(
        """(float[2, 5] x) => (float[2, 4] y) <float[8, 5] w0, float[8] b0, float[8, 4] w1> {
            h = com.microsoft.FusedGemm<transB = 1, alpha = 0.5, activation = "LeakyRelu",
              activation_alpha = 0.3>(x, w0, b0)
            y = Gemm(h, w1)
        }""",
        domains=DOMAINS,
    )
    plain, _ = unfused(model)
    feed = random_feed(model)
    np.testing.assert_allclose(run(plain, feed)[0], run(model, feed)[0], rtol=1e-5, atol=1e-6)
    assert group_sizes(plain) == [8]


@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_bounds_are_of_the_type_of_the_layer(dtype: str) -> None:
    model = net(
        """(float[2, 3, 5, 5] x) => (float[2, 8, 5, 5] y) <float[8, 3, 1, 1] w0> {
            y = com.microsoft.FusedConv<activation = "Clip", activation_params = [0.0, 6.0]>(x, w0)
        }""".replace("float[", f"{dtype}["),
        domains=DOMAINS,
    )
    plain, _ = unfused(model)
    assert {tensor.data_type for tensor in plain.graph.initializer} == {model.graph.initializer[0].data_type}
    onnx.checker.check_model(plain, full_check=True)


@pytest.mark.parametrize("taken", ["d/Conv", "d/min", "d/max"])
def test_new_tensors_get_names_of_their_own(taken: str) -> None:
    model = net(
        """(float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8] b0, float[1] other, float[4, 8, 1, 1] w1> {
            d = com.microsoft.FusedConv<activation = "Clip", activation_params = [0.0, 6.0]>(x, w0, b0)
            e = Mul(d, other)
            y = Conv(e, w1)
        }""",
        domains=DOMAINS,
    )
    next(tensor for tensor in model.graph.initializer if tensor.name == "other").name = taken
    model.graph.node[1].input[1] = taken
    plain, _ = unfused(model)
    names = [tensor.name for tensor in plain.graph.initializer]
    assert len(set(names)) == len(names)
    feed = random_feed(model)
    np.testing.assert_allclose(run(plain, feed)[0], run(model, feed)[0], rtol=1e-5, atol=1e-6)
    assert_cut_equals_mask(plain)


def test_what_is_not_known_stays_and_is_named() -> None:
    model = net(
        """(float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = com.microsoft.FusedConv<activation = "Mystery">(x, w0)
            y = Conv(c, w1)
        }""",
        domains=DOMAINS,
    )
    assert unfused(model) == (model, 0)
    assert analysed(model).unread == (
        "FusedConv (node 0) is left alone (op of a custom domain), and so is what reads it: Conv (node 1)",
    )


FLOAT = """(float[1, 3, 16, 16] x) => (float[1, 4] y)
    <float[16, 3, 3, 3] w0, float[16] b0, float[16, 16, 3, 3] w1, float[16] b1, float[16, 4] w2> {
        c = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
        r = Relu(c)
        d = Conv<pads = [1, 1, 1, 1]>(r, w1, b1)
        t = Relu(d)
        p = GlobalAveragePool(t)
        f = Flatten(p)
        y = Gemm(f, w2)
    }"""


def test_files_of_the_optimiser_are_read(tmp_path: Path) -> None:
    level = ort.GraphOptimizationLevel
    whole = net(FLOAT)
    loaded = load(optimised(tmp_path / "extended.onnx", whole, level.ORT_ENABLE_EXTENDED))
    assert any("fused with an activation" in note for note in loaded.notes)
    assert group_sizes(loaded.proto) == group_sizes(whole)
    assert_cut_equals_mask(loaded.proto)


def test_layouts_of_one_machine_are_refused(tmp_path: Path) -> None:
    model = net(FLOAT)
    model.graph.node[0].domain = "com.microsoft.nchwc"
    model.opset_import.add(domain="com.microsoft.nchwc", version=1)
    onnx.save(model, tmp_path / "blocked.onnx")
    with refused("unsupported-model", "prune the file that this was made from"):
        load(tmp_path / "blocked.onnx")
