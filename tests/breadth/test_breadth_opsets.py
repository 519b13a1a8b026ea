"""The same nets in every opset: attributes that became inputs, defaults that changed, ops that came and went.

Each net runs at the oldest opset that still matters, at the newest that onnxruntime runs, and wherever one of its ops
was given a new version in between.
"""

from collections.abc import Callable, Iterator

import onnx
import onnxruntime
import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net

OLDEST = 7


def _newest() -> int:
    """Return the newest opset that onnx knows and onnxruntime runs."""
    for opset in range(onnx.defs.onnx_opset_version(), OLDEST, -1):
        model = net("(float[1] x) => (float[1] y) { y = Relu(x) }", opset=opset)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
            continue
        return opset
    raise AssertionError("onnxruntime runs none of the opsets")


NEWEST = _newest()

CHANGES: dict[str, set[int]] = {}
for schema in onnx.defs.get_all_schemas_with_history():
    if schema.domain == "":
        CHANGES.setdefault(schema.name, set()).add(schema.since_version)


def pool(opset: int) -> str:
    more = ", ceil_mode = 1" if opset >= 10 else ""
    return f"""a = MaxPool<kernel_shape = [2, 2], strides = [1, 1]{more}>(c)
        b = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1{more}>(a)
        g = GlobalAveragePool(b)
        d = Add(b, g)"""


def batchnorm(opset: int) -> str:
    return f"d = BatchNormalization<{'spatial = 1, ' if opset < 9 else ''}momentum = 0.9>(c, v0, v1, v2, v3)"


def clip(opset: int) -> str:
    return "d = Clip<min = -0.5, max = 0.5>(c)" if opset < 11 else "d = Clip(c, low, high)"


def dropout(opset: int) -> str:
    return "d, m = Dropout<ratio = 0.5>(c)" if opset < 12 else "d, m = Dropout(c, high)"


def slice_(opset: int) -> str:
    if opset < 10:
        return "d = Slice<starts = [2, 0], ends = [7, 5], axes = [1, 3]>(c)"
    return "d = Slice(c, starts, ends, sliced)"


def pad(opset: int) -> str:
    if opset < 11:
        return "d = Pad<pads = [0, 2, 0, 1, 0, 3, 0, 1], value = 0.25>(c)"
    return "d = Pad(c, pads, quarter)" if opset < 18 else "d = Pad(c, few_pads, quarter, sliced)"


def squeeze(opset: int) -> str:
    if opset < 13:
        return "a = GlobalMaxPool(c) b = Squeeze<axes = [2, 3]>(a) e = Sigmoid(b) d = Unsqueeze<axes = [2, 3]>(e)"
    return "a = GlobalMaxPool(c) b = Squeeze(a, space) e = Sigmoid(b) d = Unsqueeze(e, space)"


def split(opset: int) -> str:
    if opset < 13:
        return "a, b = Split<axis = 1, split = [3, 5]>(c) e = Relu(a) d = Concat<axis = 1>(b, e)"
    return "a, b = Split<axis = 1>(c, parts) e = Relu(a) d = Concat<axis = 1>(b, e)"


def halves(opset: int) -> str:
    number = ", num_outputs = 2" if opset >= 18 else ""
    return f"a, b = Split<axis = 1{number}>(c) e = Sigmoid(a) f = Mul(b, e) d = Concat<axis = 1>(f, a)"


def means(opset: int) -> str:
    if opset < 18:
        return "a = ReduceMean<axes = [2, 3]>(c) b = ReduceMax<axes = [-1]>(c) d = Mul(a, b)"
    return "a = ReduceMean(c, space) b = ReduceMax(c, last) d = Mul(a, b)"


def sums(opset: int) -> str:
    if opset < 13:
        return "a = ReduceSum<axes = [2, 3], keepdims = 1>(c) d = Tanh(a)"
    return "a = ReduceSum<keepdims = 1>(c, space) d = Tanh(a)"


def upsample(opset: int) -> str:
    if opset < 9:
        return 'd = Upsample<mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]>(c)'
    if opset < 10:
        return 'd = Upsample<mode = "nearest">(c, scales)'
    return f"d = Resize(c, {'' if opset < 11 else 'corners,' if opset < 13 else ','} scales)"


def topped(opset: int) -> str:
    """Let the layers around a normalisation or softmax over space."""
    return "a = Softmax<axis = 3>(c) b = LogSoftmax<axis = 3>(c) d = Add(a, b)"


def layer_norm(opset: int) -> str:
    return "d = LayerNormalization<axis = -2>(c, plane, plane)"


def middle_ops(opset: int) -> str:
    return """a = PRelu(c, slope) b = InstanceNormalization(a, v0, v1) e = LeakyRelu<alpha = 0.3>(b) f = Elu(e)
        g = HardSigmoid(f) h = Max(g, a, e) d = Sum(h, c, b)"""


def reshape(opset: int) -> str:
    return (
        "a = Reshape(c, target) b = Transpose<perm = [0, 2, 1]>(a) e = MatMul(b, square) f = Relu(e) d = MatMul(f, w2)"
    )


def flatten(opset: int) -> str:
    bias = ", v4" if opset < 11 else ""
    return f"""a = GlobalAveragePool(c) b = Flatten<axis = 1>(a) e = Gemm<transB = 1>(b, w3{bias}) f = Relu(e)
        d = MatMul(f, w2)"""


def copies(opset: int) -> str:
    return "a = Expand(quarters, shape) b = Tile(c, once) e = Gather<axis = 1>(b, order) d = Mul(a, e)"


def sized(opset: int) -> str:
    return """s = Shape(c) n0 = Gather(s, zero) n1 = Gather(s, one)
        t = Concat<axis = 0>(n0, n1, last) a = Reshape(c, t) b = Transpose<perm = [0, 2, 1]>(a) d = MatMul(b, w4)"""


def gated(opset: int) -> str:
    return "a = Greater(c, quarter) b = Where(a, c, quarter) d = Mean(b, c)"


def transposed(opset: int) -> str:
    return "d = ConvTranspose<strides = [2, 2], output_padding = [1, 1], pads = [1, 1, 1, 1]>(c, w5, v4)"


def recurrent(opset: int) -> str:
    return """p = GlobalAveragePool(c) q = Reshape(p, rows) r = Transpose<perm = [1, 0, 2]>(q)
        l, lh, lc = LSTM<hidden_size = 6>(r, w6, r6) d = MatMul(l, w7)"""


def letters(opset: int) -> str:
    return 'a = Einsum<equation = "nchw,cd->ndhw">(c, square) d = Celu(a)'


def modern(opset: int) -> str:
    return "a = HardSwish(c) b = Identity(a) d = Add(b, c)"


def newest(opset: int) -> str:
    return 'a = Mish(c) b = Gelu<approximate = "tanh">(a) d = CastLike(b, c)'


CONSTANTS = """float[8] v0, float[8] v1, float[8] v2, float[8] v3, float[8] v4, float low = {-0.5}, float high = {0.5},
    float quarter = {0.25}, int64[2] starts = {2, 0}, int64[2] ends = {7, 5}, int64[2] sliced = {1, 3},
    int64[8] pads = {0, 2, 0, 1, 0, 3, 0, 1}, int64[4] few_pads = {2, 1, 3, 1}, int64[2] space = {2, 3},
    int64[1] last = {-1}, int64[2] parts = {3, 5}, float[4] scales = {1, 1, 2, 2},
    float[8] corners = {0, 0, 0, 0, 1, 1, 1, 1},
    float[6, 6] plane,
    float[8, 1, 1] slope, int64[3] target = {0, 8, -1}, float[8, 8] square, float[8, 4] w2, float[8, 8] w3,
    float[8, 1, 1] quarters, int64[4] shape = {1, 8, 1, 1}, int64[4] once = {1, 1, 1, 1},
    int64[8] order = {7, 0, 1, 6, 5, 2, 3, 4}, int64[1] zero = {0}, int64[1] one = {1}, float[8, 4] w4,
    float[8, 8, 3, 3] w5, int64[3] rows = {0, 1, -1}, float[1, 24, 8] w6, float[1, 24, 6] r6, float[6, 4] w7"""

# By name: the middle of the net, the opset it begins with, the ops whose versions matter, the sizes of its groups, and
# whether a convolution of so many inputs follows (0: the middle ends in a layer of its own).
FAMILIES: dict[str, tuple[Callable[[int], str], int, str, list[int], int]] = {
    "batchnorm": (batchnorm, 7, "BatchNormalization Conv", [8], 8),
    "clip": (clip, 7, "Clip", [8], 8),
    "dropout": (dropout, 7, "Dropout", [8], 8),
    "slice": (slice_, 7, "Slice", [3, 5], 5),
    "pad": (pad, 7, "Pad", [8], 13),
    "squeeze": (squeeze, 7, "Squeeze Unsqueeze Sigmoid", [8], 8),
    "split": (split, 7, "Split Concat Relu", [3, 5], 8),
    "halves": (halves, 7, "Split Mul", [4], 8),
    "means": (means, 7, "ReduceMean ReduceMax", [8], 8),
    "sums": (sums, 7, "ReduceSum Tanh", [8], 8),
    "upsample": (upsample, 7, "Upsample Resize", [8], 8),
    "pool": (pool, 7, "MaxPool AveragePool GlobalAveragePool Add", [8], 8),
    "softmax": (topped, 7, "Softmax LogSoftmax", [8], 8),
    "layer norm": (layer_norm, 17, "LayerNormalization", [8], 8),
    "activations": (middle_ops, 8, "PRelu InstanceNormalization LeakyRelu Elu HardSigmoid Max Sum", [8], 8),
    "reshape": (reshape, 7, "Reshape Transpose MatMul", [8, 8], 0),
    "flatten": (flatten, 7, "Flatten Gemm", [8, 8], 0),
    "copies": (copies, 8, "Expand Tile Gather", [8], 8),
    "sizes": (sized, 7, "Shape Concat", [8], 0),
    "gates": (gated, 9, "Greater Where Mean", [8], 8),
    "conv transpose": (transposed, 7, "ConvTranspose", [8, 8], 8),
    "lstm": (recurrent, 7, "LSTM", [6, 8], 0),
    "letters": (letters, 12, "Einsum Celu", [8, 8], 8),
    "modern": (modern, 14, "HardSwish Identity", [8], 8),
    "newest": (newest, 20, "Gelu Mish CastLike Cast", [8], 8),
}


def cases() -> Iterator[tuple[str, int]]:
    for name, (_, since, ops, _, _) in FAMILIES.items():
        versions = {version for op in ops.split() for version in CHANGES[op]}
        yield from ((name, opset) for opset in sorted({since, NEWEST, *versions}) if since <= opset <= NEWEST)


def family(name: str, opset: int) -> onnx.ModelProto:
    middle, _, _, _, follows = FAMILIES[name]
    last = "y = Conv(d, w1)" if follows else "y = Identity(d)"
    weights = f"float[8, 3, 1, 1] w0, {f'float[4, {follows}, 1, 1] w1, ' if follows else ''}{CONSTANTS}"
    shape = {"flatten": "a, b", "reshape": "a, b, c", "sizes": "a, b, c"}.get(name, "a, b, c, d")
    text = f"(float[n, 3, 6, 6] x) => (float[{shape}] y) <{weights}>"
    return net(f"{text} {{ c = Conv(x, w0) {middle(opset)} {last} }}", opset=opset, ir=8 if opset < 21 else 10)


@pytest.mark.parametrize(("name", "opset"), list(cases()))
def test_every_family_is_cut_alike_in_every_opset(name: str, opset: int) -> None:
    model = family(name, opset)
    assert group_sizes(model) == FAMILIES[name][3]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("opset", [opset for opset in (18, 20, 21, NEWEST) if opset <= NEWEST])
def test_group_norm_as_one_node_is_cut_on_request(opset: int) -> None:
    """Opset 18 brought it with an entry per group, was deprecated for that, and the checker refuses it since."""
    vectors = "s2, b2" if opset < 21 else "v0, v1"
    model = net(
        f"""(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, float[2] s2, float[2] b2, float[8] v0, float[8] v1> {{
            c = Conv(x, w0)
            d = GroupNormalization<num_groups = 2>(c, {vectors})
            y = Conv(d, w1)
        }}""",
        opset=opset,
        ir=10,
    )
    if opset < 21:
        assert frozen_reasons(model)["c"] == "c:1 meets GroupNormalization (node 1), which normalises over this axis"
    else:
        assert group_sizes(model) == [2]
        assert_cut_equals_mask(model)
    assert group_sizes(model, approximate=True) == [4]
    assert_cut_equals_mask(model, approximate=True)
