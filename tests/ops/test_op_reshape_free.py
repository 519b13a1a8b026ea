"""Reshape with a free batch: channels that are folded into it come round again and again."""

import onnx
import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net

# Patches of each channel by themselves, as MobileViT unfolds them: [n, C, H, W] -> [n*C*h, ph, w, pw] -> ... -> back.
UNFOLDED = """
    c = Conv(x, w0)
    f = Reshape(c, fold)
    t = Transpose<perm = [0, 2, 1, 3]>(f)
    r = Sigmoid(t)
    b = Reshape(r, back)
    y = Conv(b, w1)
"""
WEIGHTS = "float[6, 3, 1, 1] w0, float[4, 6, 1, 1] w1"
TRACED = """
    s = Shape(c) n = Gather(s, i0) ch = Gather(s, i1)
    nc = Mul(n, ch) rows = Mul(nc, two)
    fold = Concat<axis = 0>(rows, two, two, two)
    back = Concat<axis = 0>(n, ch, four, four)
"""
NUMBERS = "int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] two = {2}, int64[1] four = {4}"


def unfolded(fold: str, back: str) -> onnx.ModelProto:
    """Write the net with constant targets."""
    return net(f"""(float[n, 3, 4, 4] x) => (float[n, 4, h, w] y)
        <{WEIGHTS}, int64[4] fold = {{{fold}}}, int64[4] back = {{{back}}}> {{ {UNFOLDED} }}""")


@pytest.mark.parametrize("back", ["-1, 6, 4, 4", "-1, 6, 8, 2"])
def test_channels_folded_into_a_free_batch_are_cut(back: str) -> None:
    model = unfolded("-1, 2, 2, 2", back)
    assert group_sizes(model) == [6]
    for batch in (1, 2, 3):
        checked = assert_cut_equals_mask(model, free={"n": batch})
    assert checked.shape("w1") == (4, 3, 1, 1)
    assert list(checked.value("fold")) == [-1, 2, 2, 2]
    assert list(checked.value("back"))[1] == 3
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def traced(extra: str = "") -> onnx.ModelProto:
    """Write the net with targets computed from Shape."""
    nodes = UNFOLDED.replace("f = Reshape", TRACED + "f = Reshape") + extra
    return net(f"(float[n, 3, 4, 4] x) => (float[n, 4, 4, 4] y) <{WEIGHTS}, {NUMBERS}> {{ {nodes} }}")


def test_a_target_that_multiplies_batch_and_channels_follows_by_itself() -> None:
    model = traced()
    assert group_sizes(model) == [6]
    for batch in (1, 3):
        assert not assert_cut_equals_mask(model, free={"n": batch}).result.edits.operands


def test_a_target_that_multiplies_the_batch_with_another_width_is_written_down() -> None:
    """The number of channels is read from a tensor that stays as wide as it was, or is cut otherwise."""
    model = net(
        f"""(float[n, 3, 4, 4] x) => (float[n, 4, 4, 4] y)
        <{WEIGHTS}, float[6, 4, 1, 1] w2, float[4, 6, 1, 1] w3, {NUMBERS}> {{
            {
            UNFOLDED.replace("f = Reshape", TRACED.replace("Shape(c)", "Shape(d)") + "f = Reshape")
            .replace("c = Conv(x, w0)", "c = Conv(x, w0) e = Conv(x, w4) d = Conv(e, w2)")
            .replace("y = Conv(b, w1)", "u = Conv(b, w1) z = Conv(d, w3) y = Add(u, z)")
        }
        }}""".replace("float[4, 6, 1, 1] w3", "float[4, 6, 1, 1] w3, float[4, 3, 1, 1] w4")
    )
    assert group_sizes(model) == [4, 6, 6]
    keep = assert_cut_equals_mask(model).keep
    for batch in (1, 3):
        for name in keep:
            checked = assert_cut_equals_mask(model, {name: keep[name]}, free={"n": batch})
            expected = {"c": {"fold", "back"}, "d": {"fold", "back"}, "e": set()}[name]
            assert {base.split("_cut")[0] for base in checked.result.edits.added} == expected


def test_heads_folded_into_a_batch_in_the_middle_are_cut_where_their_dimensions_cannot_be() -> None:
    """torch.nn.MultiheadAttention's [tokens, batch * heads, d], with a norm over the dimensions of each query."""
    model = net("""(float[5, n, 6] x) => (float[5, n, 4] y)
        <float[6, 12] wq, float[6, 12] wk, float[6, 12] wv, float[4] g, float[4] b, float[12, 4] wo,
        int64[3] folded = {5, -1, 4}, int64[3] flat = {5, -1, 12}> {
            q0 = MatMul(x, wq) k0 = MatMul(x, wk) v0 = MatMul(x, wv)
            q1 = Reshape(q0, folded) k1 = Reshape(k0, folded) v1 = Reshape(v0, folded)
            q2 = LayerNormalization<axis = -1>(q1, g, b)
            q = Transpose<perm = [1, 0, 2]>(q2) kt = Transpose<perm = [1, 2, 0]>(k1)
            v = Transpose<perm = [1, 0, 2]>(v1)
            s = MatMul(q, kt)
            p = Softmax<axis = -1>(s)
            m0 = MatMul(p, v)
            m = Transpose<perm = [1, 0, 2]>(m0)
            f = Reshape(m, flat)
            y = MatMul(f, wo)
        }""")
    assert group_sizes(model) == [3, 4]
    for batch in (1, 2):
        checked = assert_cut_equals_mask(model, free={"n": batch})
    assert (checked.shape("wq"), checked.shape("wv")) == ((6, 4), (6, 2))
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()
    assert group_sizes(model, approximate=True) == [3, 4, 4]
    assert_cut_equals_mask(model, approximate=True)


def test_a_norm_cut_beside_folded_heads_keeps_its_free_axis_whole_in_the_oracle() -> None:
    """Channels lie in the batch, others are normalised over in the same tensor."""
    model = net("""(float[n, 3, 4] x) => (float[n, 6, 5] y)
        <float[6, 3, 1] w0, float[4, 8] w1, float[8] g, float[8] b, float[8, 5] w2, int64[2] fold = {-1, 4},
        int64[3] back = {-1, 6, 5}, int64[3] eight = {-1, 6, 8}, float[6, 6, 1] w3> {
            c = Conv(x, w0)
            f = Reshape(c, fold)
            m = MatMul(f, w1)
            l = LayerNormalization<axis = -1>(m, g, b)
            u = MatMul(l, w2)
            v = Reshape(u, back)
            y = Conv(v, w3)
        }""")
    assert group_sizes(model) == [6]
    assert group_sizes(model, approximate=True) == [6, 8]
    for batch in (1, 2):
        assert_cut_equals_mask(model, approximate=True, free={"n": batch})


@pytest.mark.parametrize(
    ("nodes", "extra", "reason"),
    [
        ("y = Relu(f)", "", "y:0 is part of the graph output"),
        ("y = ReduceSum<keepdims = 1>(f, i0)", "int64[1] i0 = {0}", "ReduceSum"),
        ("r = Concat<axis = 0>(f, f) y = Sigmoid(r)", "", "Concat"),
        ("y = Slice(f, i0, i2, i0)", "int64[1] i0 = {0}, int64[1] i2 = {2}", "Slice"),
        ("y = Softmax<axis = 0>(f)", "", "Softmax"),
        ("r = Reshape(f, other) y = MatMul(r, w1)", "int64[3] other = {-1, 4, 2}, float[2, 3] w1", "Reshape"),
    ],
)
def test_what_counts_on_a_folded_axis_freezes(nodes: str, extra: str, reason: str) -> None:
    declared = f"float[6, 3, 1] w0, int64[2] fold = {{-1, 2}}{', ' if extra else ''}{extra}"
    outputs = "float[a, b] y" if "MatMul" not in nodes else "float[a, 4, 3] y"
    model = net(f"(float[n, 3, 2] x) => ({outputs}) <{declared}> {{ c = Conv(x, w0) f = Reshape(c, fold) {nodes} }}")
    for approximate in (False, True):
        assert group_sizes(model, approximate=approximate) == []
        assert reason.split(" ")[0] in frozen_reasons(model)["c"]


def test_two_foldings_of_one_axis_freeze() -> None:
    """Rows of 6 channels each, taken for rows of 3 pairs: which position is which differs with the way it is read."""
    model = net("""(float[n, 3, 4] x) => (float[n, 5, 4] y)
        <float[6, 3, 1] w0, int64[3] fold = {-1, 2, 2}, int64[3] half = {-1, 6, 4}, float[5, 6, 1] w1,
        int64[2] rows = {-1, 4}, int64[3] pairs = {-1, 3, 4}, float[7, 3, 1] w2> {
            c = Conv(x, w0)
            f = Reshape(c, rows)
            p = Reshape(f, pairs)
            z = Conv(p, w2)
            b = Reshape(f, half)
            y = Conv(b, w1)
        }""")
    assert 6 not in group_sizes(model)


def test_a_recorded_size_of_a_folded_axis_loses_its_name() -> None:
    model = unfolded("-1, 2, 2, 2", "-1, 6, 4, 4")
    recorded = [onnx.helper.make_tensor_value_info(name, 1, ["12*n", 2, 2, 2]) for name in ("f", "t")]
    model.graph.value_info.extend(recorded)
    left = {info.name: info for info in assert_cut_equals_mask(model).model.graph.value_info}
    for name in ("f", "t"):
        dims = left[name].type.tensor_type.shape.dim
        assert not dims[0].WhichOneof("value")
        assert [dim.dim_value for dim in dims][1:] == [2, 2, 2]
