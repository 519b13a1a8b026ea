"""Where layers are measured: after their own normalisation and activation, and never past what others see."""

import pytest
from nets import analysed, net

from onnxprune.calibration.points import Point, _follow, find_points
from onnxprune.values.axes import Axis, Ref

BN = "float[4] s, float[4] b, float[4] m, float[4] v"


def points(text: str, opset: int = 17) -> dict[str, Point]:
    return {point.layer: point for point in find_points(analysed(net(text, opset=opset)))}


def chain(body: str, weights: str = "", tail: str = "t") -> str:
    """Return a net whose first convolution `a` is followed by `body`, which ends in the tensor `tail`."""
    return f"""(float[n, 3, 6, 6] x) => (float[n, 2, 6, 6] y) <float[4, 3, 1, 1] w0, float[2, 4, 1, 1] w1{weights}> {{
        a = Conv(x, w0)
        {body}
        y = Conv({tail}, w1)
    }}"""


@pytest.mark.parametrize(
    ("body", "weights", "tail"),
    [
        ("n1 = BatchNormalization(a, s, b, m, v) t = Relu(n1)", f", {BN}", "t"),
        ("t = LeakyRelu<alpha = 0.1>(a)", "", "t"),
        ("g = Sigmoid(a) t = Mul(a, g)", "", "t"),
        ("g = Sigmoid(a) t = Mul(g, a)", "", "t"),
        ("g = HardSigmoid(a) t = Mul(a, g)", "", "t"),
        ("n1 = BatchNormalization(a, s, b, m, v) g = Sigmoid(n1) t = Mul(n1, g)", f", {BN}", "t"),
        ("t = Add(a, bias)", ", float[4, 1, 1] bias", "t"),
        ("c = Add(bias, a) t = Relu(c)", ", float[4, 1, 1] bias", "t"),
        ("c = Mul(a, scale) d = Add(c, bias) t = Relu(d)", ", float[4, 1, 1] scale, float[4, 1, 1] bias", "t"),
    ],
)
def test_a_layer_is_measured_after_its_private_chain(body: str, weights: str, tail: str) -> None:
    assert points(chain(body, weights, tail))["a"].tensor == tail


@pytest.mark.parametrize(
    ("body", "measured"),
    [
        ("t = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a)", "a"),  # not alone with its position
        ("g = Sigmoid(a) h = Relu(a) t = Mul(g, h)", "a"),  # two readers that are no gate
        ("r = Relu(a) q = Conv(r, wq) t = Add(r, q)", "r"),  # the activation is shared
        ("g = Sigmoid(a) h = Mul(a, three) t = Add(g, h)", "a"),  # a product with something else
        ("g = Sigmoid(a) t = Mul(g, g)", "g"),  # a product without the tensor itself
    ],
)
def test_a_layer_is_not_followed_past_what_others_read(body: str, measured: str) -> None:
    assert points(chain(body, ", float[4, 4, 1, 1] wq, float three = {3.0}"))["a"].tensor == measured


def test_a_branch_of_a_residual_sum_is_measured_before_the_sum() -> None:
    found = points(f"""(float[n, 3, 6, 6] x) => (float[n, 2] y)
        <float[4, 3, 1, 1] w0, float[4, 4, 3, 3] w1, float[4, 4, 3, 3] w2, float[2, 4] w3, {BN}> {{
            a = Conv(x, w0)
            ar = Relu(a)
            c = Conv<pads = [1, 1, 1, 1]>(ar, w1)
            cr = Relu(c)
            d = Conv<pads = [1, 1, 1, 1]>(cr, w2)
            e = BatchNormalization(d, s, b, m, v)
            sum = Add(ar, e)
            r = Relu(sum)
            p = GlobalAveragePool(r)
            f = Flatten(p)
            y = Gemm<transB = 1>(f, w3)
        }}""")
    assert {layer: point.tensor for layer, point in found.items()} == {"a": "ar", "c": "cr", "d": "e"}
    assert list(found) == ["a", "c", "d"]


def test_a_tensor_that_is_an_output_is_where_following_ends() -> None:
    """Channels that reach an output are frozen, so the output here is a part of the pair that a gate multiplies."""
    text = """(float[n, 3, 6, 6] x) => (float[n, 2, 6, 6] y, float[n, 1, 6, 6] seen)
        <float[4, 3, 1, 1] w0, float[1, 4, 1, 1] w1, float[2, 1, 1, 1] w2, float[2, 4, 1, 1] w3> {
            a = Conv(x, w0)
            r = Relu(a)
            seen = Conv(r, w1)
            t = Relu(seen)
            u = Conv(t, w2)
            z = Conv(r, w3)
            y = Add(z, u)
        }"""
    analysis = analysed(net(text))
    assert [group.name for group in analysis.prunable] == ["a"]
    assert [point.tensor for point in find_points(analysis)] == ["r"]


def test_following_stops_at_a_graph_output() -> None:
    analysis = analysed(
        net("""(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] c, float[n, 4, 6, 6] y) <float[4, 3, 1, 1] w0> {
            a = Conv(x, w0)
            c = Relu(a)
            y = Tanh(c)
        }""")
    )
    assert _follow(analysis.graph, Axis(Ref("a"), 1)) == "c"


def test_maps_and_vectors_are_told_apart() -> None:
    found = points("""(float[n, 3, 6, 6] x) => (float[n, 3] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, float[8, 4, 1, 1] w2, float[16, 8] w3, float[3, 16] w4> {
            a = Conv(x, w0)
            r = Relu(a)
            p = GlobalAveragePool(r)
            squeeze = Conv(p, w1)
            q = Relu(squeeze)
            excite = Conv(q, w2)
            gate = Sigmoid(excite)
            scaled = Mul(r, gate)
            z = GlobalAveragePool(scaled)
            f = Flatten(z)
            h = Gemm<transB = 1>(f, w3)
            hr = Relu(h)
            y = Gemm<transB = 1>(hr, w4)
        }""")
    kinds = {layer: (point.kind, point.positions, point.channels) for layer, point in found.items()}
    assert kinds == {
        "a": ("map", 36, 8),
        "squeeze": ("vector", 1, 4),
        "excite": ("vector", 1, 8),
        "h": ("vector", 1, 16),
    }


def test_tokens_are_the_positions_of_a_fully_connected_layer() -> None:
    found = points("""(float[n, 6, 5] x) => (float[n, 6, 5] y) <float[5, 8] w0, float[8] b0, float[8, 5] w1> {
            a = MatMul(x, w0)
            c = Add(a, b0)
            r = Relu(c)
            y = MatMul(r, w1)
        }""")
    assert found["a"] == Point("a", "r", axis=2, rank=3, channels=8, positions=6, kind="vector", rows=1, activity="r")


def test_a_tensor_without_samples_on_its_first_axis_is_not_measured() -> None:
    found = points("""(float[n, 6, 5] x) => (float[6, n, 5] y) <float[5, 8] w0, float[8, 5] w1> {
            t = Transpose<perm = [1, 0, 2]>(x)
            a = MatMul(t, w0)
            r = Relu(a)
            y = MatMul(r, w1)
        }""")
    assert found == {}


def test_rows_that_belong_to_one_sample_are_positions() -> None:
    found = points("""(float[n, 6, 5] x) => (float[m, 5] y)
        <float[5, 8] w0, float[8, 5] w1, int64[2] flat = {-1, 5}> {
            t = Reshape(x, flat)
            a = MatMul(t, w0)
            r = Relu(a)
            y = MatMul(r, w1)
        }""")
    assert found["a"] == Point("a", "r", axis=1, rank=2, channels=8, positions=6, kind="vector", rows=6, activity="r")


def test_state_whose_first_axis_is_layers_does_not_hide_the_samples() -> None:
    found = points("""(float[2, 1, 3] state, float[1, 5] x) => (float[1, 4] y, float[2, 1, 3] next)
        <float[5, 8] w0, float[8, 4] w1> {
            a = MatMul(x, w0)
            r = Relu(a)
            y = MatMul(r, w1)
            next = Tanh(state)
        }""")
    assert found["a"] == Point("a", "r", axis=1, rank=2, channels=8, positions=1, kind="vector", rows=1, activity="r")
