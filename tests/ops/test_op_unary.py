"""Element-wise functions of one tensor: every axis passes through, whatever the function makes of zero."""

import numpy as np
import pytest
from nets import analysed, assert_cut_equals_mask, group_sizes, net

# Function -> how to bring the numbers into its domain before ("" = any number will do). Not among them are Swish and
# the functions that onnxruntime has no float kernel for; of those the facts alone are tested.
FLOAT = {
    "Abs": "", "Acos": "Tanh", "Acosh": "Cosh", "Asin": "Tanh", "Asinh": "", "Atan": "", "Atanh": "Sin",
    "Ceil": "", "Celu": "", "Cos": "", "Cosh": "", "Elu": "", "Erf": "", "Exp": "", "Floor": "", "Gelu": "",
    "HardSigmoid": "", "HardSwish": "", "Identity": "", "LeakyRelu": "", "Log": "Exp", "Mish": "", "Neg": "",
    "Reciprocal": "Exp", "Relu": "", "Round": "", "Selu": "", "Shrink": "", "Sigmoid": "", "Sign": "", "Sin": "",
    "Sinh": "", "Softplus": "", "Softsign": "", "Sqrt": "Exp", "Tan": "Sin", "Tanh": "", "ThresholdedRelu": "",
}  # fmt: skip


def between(lines: str, *, opset: int = 20, constants: str = "") -> str:
    """Two convolutions with `lines` between them, which make d of c."""
    return f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8] b0, float[4, 8, 1, 1] w1{constants}> {{
            c = Conv(x, w0, b0)
            {lines}
            y = Conv(d, w1)
        }}"""


@pytest.mark.parametrize("function", sorted(FLOAT))
def test_channels_pass_through(function: str) -> None:
    lines, last = [], "c"
    for number, step in enumerate(FLOAT[function].split()):
        lines.append(f"p{number} = {step}({last})")
        last = f"p{number}"
    model = net(between("\n".join([*lines, f"d = {function}({last})"])), opset=20, ir=9)
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize(
    ("lines", "opset"),
    [
        ("r = Relu(c) b = Cast<to = 9>(r) e = Not(b) d = Cast<to = 1>(e)", 17),
        ("l = Log(c) b = IsNaN(l) d = Cast<to = 1>(b)", 17),
        ("r = Relu(c) l = Log(r) b = IsInf(l) d = Cast<to = 1>(b)", 17),
        ("b = Cast<to = 6>(c) e = BitwiseNot(b) d = Cast<to = 1>(e)", 18),
        ("b = CastLike(c, half) d = Cast<to = 1>(b)", 17),
    ],
)
def test_channels_pass_through_other_types(lines: str, opset: int) -> None:
    model = net(between(lines, constants=", float16 half = {0}"), opset=opset)
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_what_a_cast_is_like_lends_its_type_alone() -> None:
    model = net(between("d = CastLike(c, c)"), opset=17)
    assert group_sizes(model) == [8]
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 3, 5, 5] z, float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> { c = Conv(x, w0) z = CastLike(x, c) y = Conv(c, w1) }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_a_bias_that_is_cast_like_an_activation_is_a_constant() -> None:
    """As torch's exporter writes the missing bias of a convolution when told not to optimise."""
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, float[8, 8, 1, 1] w2, double[1] zero = {0}> {
            c = Conv(x, w0)
            l = CastLike(zero, c)
            s = Shape<start = 0, end = 1>(w2)
            b = Expand(l, s)
            d = Conv(c, w2, b)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8, 8]
    assert_cut_equals_mask(model)


def test_swish_passes_through() -> None:
    assert group_sizes(net(between("d = Swish(c)"), opset=24, ir=11)) == [8]


@pytest.mark.parametrize(
    ("clip", "opset"),
    [
        ("d = Clip<min = -0.3, max = 0.4>(c)", 10),
        ("d = Clip(c, low, high)", 17),
        ("d = Clip(c, , high)", 17),
        ("d = Clip(c, low)", 17),
    ],
)
def test_the_bounds_of_clip_are_no_channels(clip: str, opset: int) -> None:
    model = net(between(clip, constants=", float low = {-0.3}, float high = {0.4}"), opset=opset)
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize(
    ("dropout", "opset"),
    [
        ("d = Dropout<ratio = 0.5>(c)", 10),
        ("d, m = Dropout(c, half)", 17),
        ("d = Dropout(c)", 13),
        ("d, m = Dropout<ratio = 0.5>(c)", 9),
    ],
)
def test_dropout_passes_through(dropout: str, opset: int) -> None:
    model = net(between(dropout, constants=", float half = {0.5}"), opset=opset)
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_the_mask_of_dropout_follows_its_channels() -> None:
    text = between("e, m = Dropout(c) f = Cast<to = 1>(m) d = Mul(e, f)")
    analysis = analysed(net(text, opset=13))
    assert [group.size for group in analysis.prunable] == [8]
    assert {member.axis.ref.name for member in analysis.prunable[0].members} >= {"e", "m", "f"}


def test_spatial_axes_stay_opaque() -> None:
    analysis = analysed(net(between("d = Relu(c)")))
    assert {str(axis) for axis in analysis.labelled.sizes if not axis.ref.is_use} == {"c:1", "d:1", "y:1"}


def test_a_cast_on_the_way_keeps_the_type_of_the_mask() -> None:
    model = net("""(float[n, 5] x) => (float[n, 4] y) <double[5, 8] w0, double[8, 4] w1> {
            h = Cast<to = 11>(x)
            c = MatMul(h, w0)
            d = MatMul(c, w1)
            y = Cast<to = 1>(d)
        }""")
    checked = assert_cut_equals_mask(model)
    assert checked.value("w0").dtype == np.float64
