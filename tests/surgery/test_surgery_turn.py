"""Streams that normalisations read are turned, and the network computes what it did."""

import numpy as np
import onnx
import pytest
from nets import analysed, distance, net, random_feed, run

from onnxprune.analysis.streams import find_streams
from onnxprune.importance.principal_axes import principal_axes
from onnxprune.surgery.turn import turn

BLOCK = """(float[n, 6, 5] x) => (float[n, 6, 4] y)
    <float[5, 8] w0, float[1, 6, 8] pos, float[8] s1, float[8] b1, float[8, 12] w1, float[12] c1, float[12, 8] w2,
     float[8] c2, float[8] s2, float[8] b2, float[8, 4] w3> {
        e = MatMul(x, w0)
        p = Add(e, pos)
        n1 = LayerNormalization<axis = -1>(p, s1, b1)
        h = MatMul(n1, w1)
        h1 = Add(h, c1)
        r = Relu(h1)
        f = MatMul(r, w2)
        g = Add(f, c2)
        z = Add(p, g)
        n2 = LayerNormalization<axis = -1>(z, s2, b2)
        y = MatMul(n2, w3)
    }"""

SCALED = BLOCK.replace("float[8] c2,", "float[8] c2, float[8] gain,").replace(
    "z = Add(p, g)", "k = Mul(g, gain) z = Add(p, k)"
)
"""A branch is scaled by channel before it is added."""


def written_out(norm: str) -> str:
    """Write the norms of the block out, as exporters do for opsets before 17."""
    text = BLOCK
    for number, source in ((1, "p"), (2, "z")):
        d, lines = (source, []) if norm == "RMS" else (f"d{number}", [f"m{number} = ReduceMean<axes = [-1]>({source})"])
        lines += [] if norm == "RMS" else [f"d{number} = Sub({source}, m{number})"]
        lines += [f"q{number} = Pow({d}, two)", f"v{number} = ReduceMean<axes = [-1]>(q{number})"]
        lines += [f"w{number}e = Add(v{number}, small)", f"r{number} = Sqrt(w{number}e)"]
        lines += [f"i{number} = Reciprocal(r{number})", f"o{number} = Mul({d}, i{number})"] if norm == "RMS" else [
            f"o{number} = Div({d}, r{number})"]  # fmt: skip
        lines += [f"k{number} = Mul(o{number}, s{number})", f"n{number} = Add(k{number}, b{number})"]
        text = text.replace(
            f"n{number} = LayerNormalization<axis = -1>({source}, s{number}, b{number})", " ".join(lines)
        )
    return text.replace("float[8] c2,", "float[8] c2, float two = {2.0}, float small = {0.00001},")


WRITTEN_OUT = written_out("Layer")

ALIKE = BLOCK.replace("(z, s2, b2)", "(z, s1, b1)")
"""Both norms read the same scale and shift."""

MAPS = """(float[n, 3, 8, 8] x) => (float[n, 4] y)
    <float[8, 3, 4, 4] w0, float[8] b0, float[1, 1, 8] cls, int64[3] apart = {0, 8, 4}, float[8] s, float[8] b,
     int64 first = {0}, float[4, 8] w1, float[4] b1> {
        c = Conv<strides = [4, 4]>(x, w0, b0)
        r = Reshape(c, apart)
        t = Transpose<perm = [0, 2, 1]>(r)
        shape = Shape<start = 0, end = 1>(x)
        ones = Constant<value_ints = [1, 1]>()
        to = Concat<axis = 0>(shape, ones)
        token = Expand(cls, to)
        all = Concat<axis = 1>(token, t)
        n = LayerNormalization<axis = 2>(all, s, b)
        one = Gather<axis = 1>(n, first)
        y = Gemm<transB = 1>(one, w1, b1)
    }"""


def turned(model: onnx.ModelProto) -> float:
    """Turn every stream by a random matrix, and return how far the outputs are from what they were."""
    analysis = analysed(model, approximate=True)
    rng = np.random.default_rng(0)
    turns = {}
    for stream in find_streams(analysis):
        half = rng.standard_normal((stream.size, stream.size))
        turns[stream] = principal_axes(half @ half.T, centred=stream.centred)
    changed, _ = turn(analysis, turns)
    feed = random_feed(model)
    return max(distance(a, b) for a, b in zip(run(model, feed), run(changed, feed), strict=True))


@pytest.mark.parametrize(
    ("text", "makes", "reads"), [(BLOCK, 4, 2), (MAPS, 3, 1), (SCALED, 4, 2), (ALIKE, 4, 2), (WRITTEN_OUT, 4, 2)]
)
def test_the_network_stays_the_same(text: str, makes: int, reads: int) -> None:
    model = net(text)
    (stream,) = find_streams(analysed(model, approximate=True))
    assert (stream.size, stream.centred, len(stream.makes), len(stream.reads)) == (8, True, makes, reads)
    assert turned(model) < 1e-5


def test_norms_that_leave_the_mean_are_turned_freely() -> None:
    model = net(
        BLOCK.replace("LayerNormalization", "RMSNormalization").replace(", b1)", ")").replace(", b2)", ")"), opset=23
    )
    (stream,) = find_streams(analysed(model, approximate=True))
    assert not stream.centred
    assert turned(model) < 1e-5


def test_norms_that_leave_the_mean_are_turned_freely_written_out() -> None:
    model = net(written_out("RMS"))
    (stream,) = find_streams(analysed(model, approximate=True))
    assert not stream.centred
    assert turned(model) < 1e-5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y = MatMul(n2, w3)", "u = Add(n2, r2) y = MatMul(u, w3)"),
        ("y = MatMul(n2, w3)", "u = Add(n2, d2) y = MatMul(u, w3)"),
        ("o2 = Div(d2, r2)", "o2 = Div(z, r2)"),
        ("q2 = Pow(d2, two)", "q2 = Pow(d2, three)"),
        ("v2 = ReduceMean<axes = [-1]>(q2)", "v2 = ReduceMean<axes = [1]>(q2)"),
        ("m2 = ReduceMean<axes = [-1]>(z)", "m2 = ReduceMean<axes = [-1]>(p)"),
    ],
)
def test_what_is_almost_a_norm_is_none(old: str, new: str) -> None:
    text = WRITTEN_OUT.replace(old, new).replace("float two", "float three = {3.0}, float two")
    assert text != WRITTEN_OUT
    assert find_streams(analysed(net(text), approximate=True)) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y = MatMul(n2, w3)", "m = Add(n2, z) y = MatMul(m, w3)"),
        ("y = MatMul(n2, w3)", "m = Relu(n2) y = MatMul(m, w3)"),
        ("y = MatMul(n2, w3)", "y = MatMul(z, w3)"),
        ("z = Add(p, g)", "q = Relu(g) z = Add(p, q)"),
        ("z = Add(p, g)", "z = Mul(p, g)"),
        ("z = Add(p, g)", "k = Mul(p, c2) z = Add(k, g)"),
        ("f = MatMul(r, w2)", "f = MatMul(r, w2) k = LayerNormalization<axis = 1>(f, pos)"),
        ("float[8] s1, float[8] b1", "float[1, 8] s1, float[1, 8] b1"),
    ],
    ids=[
        "read behind the norm and before",
        "a step that is not linear",
        "no norm",
        "bent",
        "a product",
        "scaled as a whole",
        "tokens",
        "scales by token",
    ],
)
def test_streams_that_are_read_otherwise_stay(old: str, new: str) -> None:
    assert find_streams(analysed(net(BLOCK.replace(old, new)), approximate=True)) == ()


EVEN = BLOCK.replace("z = Add(p, g)", "one = ReduceMean<axes = [-1]>(f) q = Add(g, one) z = Add(p, q)")
"""Something is added to all channels alike."""


def test_what_is_added_to_all_channels_alike_is_nothing_to_norms_that_take_out_the_mean() -> None:
    assert len(find_streams(analysed(net(EVEN.replace("(f)", "(x)")), approximate=True))) == 1
    assert turned(net(EVEN.replace("(f)", "(x)"))) < 1e-5


@pytest.mark.parametrize(
    "text",
    [
        EVEN.replace("(f)", "(x)").replace("z = Add(p, q)", "k = Mul(q, c2) z = Add(p, k)"),
        EVEN.replace("(f)", "(x)").replace("LayerNormalization", "RMSNormalization").replace(", b1)", ")").replace(
            ", b2)", ")"
        ),
        BLOCK.replace("LayerNormalization", "RMSNormalization").replace(", b1)", ")").replace(", b2)", ")").replace(
            "f = MatMul(r, w2)", "rr = Flatten<axis = 2>(r) f = MatMul(r, w2) "
        ).replace("g = Add(f, c2)", "half = Constant<value_float = 0.5>() g = Add(f, half)"),
    ],
    ids=["scaled by channel behind it", "norms that leave the mean", "a number"],
)  # fmt: skip
def test_what_is_added_to_all_channels_alike_keeps_other_streams_as_they_are(text: str) -> None:
    model = net(text, opset=23 if "RMS" in text else 17)
    assert find_streams(analysed(model, approximate=True)) == ()


def test_a_scale_of_nothing_keeps_a_stream_as_it_is() -> None:
    model = net(BLOCK)
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "s1")
    scale.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 1, 0, 1, 1, 1, 1, 1], np.float32), "s1"))
    assert find_streams(analysed(model, approximate=True)) == ()


def test_exact_groups_are_never_turned() -> None:
    assert find_streams(analysed(net(BLOCK))) == ()
