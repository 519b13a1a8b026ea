"""Attention blocks as exporters write them: heads or head dimensions, exactly one of the two, and always exact."""

import math

import onnx
import pytest
from nets import Checked, analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net

# Three heads of four dimensions on six inputs; every net below has the same core.
HEADS, WIDTH = 3, 4
CORE = """
    kt = Transpose<perm = [0, 1, 3, 2]>(k)
    s = MatMul(q, kt)
    z = Mul(s, scale)
    p = Softmax<axis = 3>(z)
    m0 = MatMul(p, v)
    m = Transpose<perm = [0, 2, 1, 3]>(m0)
    f = Reshape(m, flat)
    y = MatMul(f, wo)
"""
SEPARATE = """
    q0 = MatMul(x, wq)
    k0 = MatMul(x, wk)
    v0 = MatMul(x, wv)
    q1 = Reshape(q0, heads)
    k1 = Reshape(k0, heads)
    v1 = Reshape(v0, heads)
    q = Transpose<perm = [0, 2, 1, 3]>(q1)
    k = Transpose<perm = [0, 2, 1, 3]>(k1)
    v = Transpose<perm = [0, 2, 1, 3]>(v1)
"""
SIZES = """
    shape = Shape(x)
    batch = Gather(shape, front)
    tokens = Gather(shape, second)
    heads = Concat<axis = 0>(batch, tokens, nh, hd)
    flat = Concat<axis = 0>(batch, tokens, all)
"""
PIECES = """int64[1] front = {0}, int64[1] second = {1}, int64[1] nh = {3}, int64[1] hd = {4}, int64[1] all = {12},
    int64[1] third = {2}, int64[1] fourth = {3}, int64[1] rest = {-1}"""


def attention(  # noqa: PLR0913 (every setting has its default)
    nodes: str,
    *,
    tokens: int | str = "t",
    heads: str = "0, 0, 3, 4",
    flat: str = "0, 0, 12",
    extra: str = "",
    scale: str = "float scale = {0.5}",
    joint: bool = False,
    targets: bool = True,
    opset: int = 17,
) -> onnx.ModelProto:
    """Write an attention block; `nodes` make q, k and v from x and end in the core."""
    projections = "float[6, 36] wqkv" if joint else "float[6, 12] wq, float[6, 12] wk, float[6, 12] wv"
    known = [projections, "float[12, 5] wo", scale, extra]
    if targets:
        known += [f"int64[4] heads = {{{heads}}}", f"int64[3] flat = {{{flat}}}"]
    declared = ", ".join(part for part in known if part)
    return net(f"(float[n, {tokens}, 6] x) => (float[n, {tokens}, 5] y) <{declared}> {{ {nodes} }}", opset=opset)


def assert_heads_and_dimensions_go(checked: Checked) -> None:
    """Check that each of q and v lost heads, and half of its dimensions."""
    widths = checked.result.edits.widths
    for name in ("q", "v"):
        assert {axis: widths[name, axis] for axis in (1, 3)} == {1: 1, 3: 2}


@pytest.mark.parametrize(
    ("heads", "flat"), [("0, 0, 3, 4", "0, 0, 12"), ("0, -1, 3, 4", "0, -1, 12"), ("0, 0, 3, -1", "0, 0, -1")]
)
def test_three_products_lose_head_dimensions(heads: str, flat: str) -> None:
    model = attention(SEPARATE + CORE, heads=heads, flat=flat)
    assert group_sizes(model) == [3, 4, 4]
    for batch, tokens in ((1, 5), (3, 2)):
        checked = assert_cut_equals_mask(model, free={"n": batch, "t": tokens})
    assert_heads_and_dimensions_go(checked)
    assert checked.shape("wq") == checked.shape("wk") == checked.shape("wv") == (6, 2)
    assert checked.shape("wo") == (2, 5)
    # A free length counts as 64: four projections, and the scores and their product with v for each head.
    assert checked.analysis.macs() == 64 * (3 * 6 * 12 + 12 * 5) + 2 * HEADS * 64 * 64 * WIDTH
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def test_constant_targets_are_rewritten() -> None:
    model = attention(SEPARATE + CORE, tokens=5, heads="1, 5, 3, 4", flat="1, 5, 12").SerializeToString()
    fixed = onnx.ModelProto.FromString(model)
    for value in (fixed.graph.input[0], fixed.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    assert group_sizes(fixed) == [3, 4, 4]
    checked = assert_cut_equals_mask(fixed)
    assert list(checked.value("heads")) == [1, 5, 1, 2]
    assert list(checked.value("flat")) == [1, 5, 2]


JOINT = """
    h = MatMul(x, wqkv)
"""


def _parts(split: str) -> str:
    reshaped = "".join(
        f"{r}1 = Reshape({r}0, heads) {r} = Transpose<perm = [0, 2, 1, 3]>({r}1) " for r in ("q", "k", "v")
    )
    return JOINT + split + reshaped + CORE


@pytest.mark.parametrize(
    ("split", "extra"),
    [
        ("q0, k0, v0 = Split<axis = 2>(h, parts)", "int64[3] parts = {12, 12, 12}"),
        (
            "q0 = Slice(h, a, b, axes) k0 = Slice(h, b, c, axes) v0 = Slice(h, c, d, axes)",
            "int64[1] a = {0}, int64[1] b = {12}, int64[1] c = {24}, int64[1] d = {36}, int64[1] axes = {2}",
        ),
        (
            "q0 = Slice(h, a, b, axes) k0 = Slice(h, b, c, axes) v0 = Slice(h, c, d, axes)",
            "int64[1] a = {0}, int64[1] b = {-24}, int64[1] c = {-12}, int64[1] d = {9223372036854775807}, "
            "int64[1] axes = {-1}",
        ),
    ],
)
def test_one_product_split_before_the_heads(split: str, extra: str) -> None:
    model = attention(_parts(split), joint=True, extra=extra)
    assert group_sizes(model) == [3, 4, 4]
    for batch, tokens in ((1, 5), (3, 2)):
        checked = assert_cut_equals_mask(model, free={"n": batch, "t": tokens})
    assert_heads_and_dimensions_go(checked)
    assert checked.shape("wqkv") == (6, 6)


@pytest.mark.parametrize("indices", ["int64 a = {0}, int64 b = {1}, int64 c = {2}", "slices"])
def test_one_product_gathered_after_the_heads(indices: str) -> None:
    if indices == "slices":
        pick = "".join(f"{r}5 = Slice(u, {a}, {b}, i0) {r} = Squeeze({r}5, i0) " for r, a, b in ("q01", "k12", "v23"))
        pick = pick.replace(", 0, 1,", ", i0, i1,").replace(", 1, 2,", ", i1, i2,").replace(", 2, 3,", ", i2, i3,")
        indices = "int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] i3 = {3}"
    else:
        pick = "q = Gather<axis = 0>(u, a) k = Gather<axis = 0>(u, b) v = Gather<axis = 0>(u, c)"
    nodes = JOINT + "r = Reshape(h, five) u = Transpose<perm = [2, 0, 3, 1, 4]>(r)" + pick + CORE
    model = attention(nodes, joint=True, extra="int64[5] five = {0, 0, 3, 3, 4}, " + indices)
    # One reshape holds q, k and v, so that their dimensions go together.
    assert group_sizes(model) == [3, 4]
    for batch, tokens in ((1, 5), (3, 2)):
        checked = assert_cut_equals_mask(model, free={"n": batch, "t": tokens})
    assert_heads_and_dimensions_go(checked)
    assert list(checked.value("five")) == [0, 0, 3, 1, 2]
    assert checked.shape("wqkv") == (6, 6)


def test_targets_computed_from_shape_with_free_batch_and_tokens() -> None:
    model = attention(SIZES + SEPARATE + CORE, extra=PIECES, targets=False)
    assert group_sizes(model) == [3, 4, 4]
    for batch, tokens in ((1, 5), (3, 2), (2, 64)):
        checked = assert_cut_equals_mask(model, free={"n": batch, "t": tokens})
    assert_heads_and_dimensions_go(checked)


DERIVED = """
    wide = Shape(q0)
    all = Gather(wide, third)
    hd = Div(all, nh)
    shape = Shape(x)
    batch = Gather(shape, front)
    tokens = Gather(shape, second)
    heads = Concat<axis = 0>(batch, tokens, nh, hd)
    flat = Concat<axis = 0>(batch, tokens, all)
"""


def test_a_head_dimension_divided_out_of_a_width_from_shape() -> None:
    """The way torch writes x.reshape(b, t, h, c // h) with everything traced."""
    nodes = "q0 = MatMul(x, wq)" + DERIVED + SEPARATE.replace("q0 = MatMul(x, wq)", "") + CORE
    pieces = PIECES.replace("int64[1] hd = {4}, int64[1] all = {12},", "")
    model = attention(nodes, extra=pieces, targets=False)
    assert group_sizes(model) == [3, 4, 4]
    for batch, tokens in ((1, 5), (3, 2)):
        checked = assert_cut_equals_mask(model, free={"n": batch, "t": tokens})
    assert_heads_and_dimensions_go(checked)
    for seed in range(3):
        for name in checked.keep:  # one group alone: its sizes are read from the other one's width
            keep = {name: checked.keep[name]}
            assert_cut_equals_mask(model, keep, seed=seed, free={"n": 2, "t": 3})


@pytest.mark.parametrize(
    "scaling",
    [
        "wide = Shape(q) d1 = Gather(wide, last) d2 = Cast<to = 1>(d1) d3 = Sqrt(d2) scale = Reciprocal(d3)",
        "wide = Shape(q) d1 = Slice(wide, neg, far) d2 = Cast<to = 1>(d1) d3 = Sqrt(d2) d4 = Div(one, d3) "
        "scale = Cast<to = 1>(d4)",
        "wide = Shape(k1) d1 = Gather(wide, last) d2 = Cast<to = 1>(d1) scale = Pow(d2, minus)",
    ],
)
def test_a_scale_from_shape_keeps_its_original_value(scaling: str) -> None:
    extra = (
        "int64 last = {-1}, int64[1] neg = {-1}, int64[1] far = {9223372036854775807}, float one = {1}, "
        "float minus = {-0.5}"
    )
    model = attention(SEPARATE + scaling + CORE, scale="", extra=extra)
    assert group_sizes(model) == [3, 4, 4]
    checked = assert_cut_equals_mask(model)
    written = checked.value(checked.node("z").input[1])
    assert float(written.ravel()[0]) == pytest.approx(1 / math.sqrt(WIDTH), rel=1e-6)


def test_a_mask_and_a_bias_by_relative_position_are_added() -> None:
    core = CORE.replace("p = Softmax<axis = 3>(z)", "zb = Add(z, bias) zm = Add(zb, am) p = Softmax<axis = 3>(zm)")
    model = attention(SEPARATE + core, tokens=5, extra="float[3, 5, 5] bias, float[1, 1, 5, 5] am", heads="0, 5, 3, 4")
    assert group_sizes(model) == [3, 4, 4]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("bias") == (1, 5, 5)
    assert_heads_and_dimensions_go(checked)


def test_softmax_over_the_dimensions_leaves_the_heads_as_the_exact_group() -> None:
    """Channel attention: the scores are [d, d], so that dropping dimensions would renormalise."""
    core = """
        qt = Transpose<perm = [0, 1, 3, 2]>(q)
        s = MatMul(qt, k)
        z = Mul(s, scale)
        p = Softmax<axis = 3>(z)
        vt = Transpose<perm = [0, 1, 3, 2]>(v)
        m0 = MatMul(p, vt)
        m = Transpose<perm = [0, 3, 1, 2]>(m0)
        f = Reshape(m, flat)
        y = MatMul(f, wo)
    """
    nodes = (
        JOINT
        + "r = Reshape(h, five) u = Transpose<perm = [2, 0, 3, 1, 4]>(r)"
        + """
        q = Gather<axis = 0>(u, a) k = Gather<axis = 0>(u, b) v = Gather<axis = 0>(u, c)"""
        + core
    )
    extra = "int64[5] five = {0, 0, 3, 3, 4}, int64 a = {0}, int64 b = {1}, int64 c = {2}"
    model = attention(nodes, joint=True, extra=extra)
    assert group_sizes(model) == [HEADS]
    for batch, tokens in ((1, 5), (3, 2)):
        checked = assert_cut_equals_mask(model, free={"n": batch, "t": tokens})
    assert checked.shape("wqkv") == (6, 12)
    assert list(checked.value("five")) == [0, 0, 3, 1, 4]
    # With inexact cuts allowed the innermost factor, the dimensions, may go as well.
    assert group_sizes(model, approximate=True) == [HEADS, WIDTH]
    assert_cut_equals_mask(model, approximate=True)


GROUPED = "float[6, 16] wq, float[6, 8] wk, float[6, 8] wv, float[16, 5] wo, float scale = {0.5}"


@pytest.mark.parametrize(
    ("repeat", "extra"),
    [
        ("Unsqueeze({r}2, two) {r}4 = Expand({r}3, wide)", "int64[1] two = {2}, int64[5] wide = {1, 2, 2, 1, 4}"),
        ("Unsqueeze({r}2, two) {r}4 = Expand({r}3, wide)", "int64[1] two = {2}, int64[5] wide = {1, 1, 2, 1, 1}"),
        ("Unsqueeze({r}2, two) {r}4 = Tile({r}3, copies)", "int64[1] two = {2}, int64[5] copies = {1, 1, 2, 1, 1}"),
    ],
)
def test_grouped_queries_share_keys_and_values(repeat: str, extra: str) -> None:
    nodes = """
        q0 = MatMul(x, wq) q1 = Reshape(q0, four) q = Transpose<perm = [0, 2, 1, 3]>(q1)
    """ + "".join(
        f"{r}0 = MatMul(x, w{r}) {r}1 = Reshape({r}0, two_heads) {r}2 = Transpose<perm = [0, 2, 1, 3]>({r}1) "
        f"{r}3 = {repeat.format(r=r)} {r} = Reshape({r}4, joined) "
        for r in ("k", "v")
    )
    model = net(f"""(float[n, t, 6] x) => (float[n, t, 5] y) <{GROUPED}, {extra}, int64[4] four = {{0, 0, 4, 4}},
        int64[4] two_heads = {{0, 0, 2, 4}}, int64[4] joined = {{0, 4, -1, 4}}, int64[3] flat = {{0, 0, 16}}> {{
        {nodes} {CORE} }}""")
    assert group_sizes(model) == [2, 4, 4]
    for batch, tokens in ((1, 5), (3, 2)):
        checked = assert_cut_equals_mask(model, free={"n": batch, "t": tokens})
    assert checked.shape("wq") == (6, 4)
    assert checked.shape("wk") == checked.shape("wv") == (6, 2)


def test_grouped_queries_by_broadcasting() -> None:
    """Queries [B, kv, g, T, d] against keys [B, kv, 1, d, T]: no copies at all."""
    model = net(f"""(float[n, t, 6] x) => (float[n, t, 5] y) <{GROUPED}, int64[5] q5 = {{0, 0, 2, 2, 4}},
        int64[5] k5 = {{0, 0, 2, 1, 4}}, int64[3] flat = {{0, 0, 16}}> {{
            q0 = MatMul(x, wq) q1 = Reshape(q0, q5) q = Transpose<perm = [0, 2, 3, 1, 4]>(q1)
            k0 = MatMul(x, wk) k1 = Reshape(k0, k5) kt = Transpose<perm = [0, 2, 3, 4, 1]>(k1)
            v0 = MatMul(x, wv) v1 = Reshape(v0, k5) v = Transpose<perm = [0, 2, 3, 1, 4]>(v1)
            s = MatMul(q, kt)
            z = Mul(s, scale)
            p = Softmax<axis = -1>(z)
            m0 = MatMul(p, v)
            m = Transpose<perm = [0, 3, 1, 2, 4]>(m0)
            f = Reshape(m, flat)
            y = MatMul(f, wo)
        }}""")
    assert group_sizes(model) == [4, 4]
    checked = assert_cut_equals_mask(model, free={"t": 5})
    assert checked.shape("wq") == (6, 8)
    assert checked.shape("wk") == (6, 4)


def test_heads_folded_into_a_free_batch_leave_the_dimensions() -> None:
    nodes = (
        SEPARATE.replace("q = T", "q2 = T").replace("k = T", "k2 = T").replace("v = T", "v2 = T")
        + """
        q = Reshape(q2, folded) k = Reshape(k2, folded) v = Reshape(v2, folded)
        kt = Transpose<perm = [0, 2, 1]>(k)
        s = MatMul(q, kt)
        z = Mul(s, scale)
        p = Softmax<axis = 2>(z)
        m1 = MatMul(p, v)
        m0 = Reshape(m1, unfolded)
        m = Transpose<perm = [0, 2, 1, 3]>(m0)
        f = Reshape(m, flat)
        y = MatMul(f, wo)
    """
    )
    model = attention(
        nodes, tokens=5, extra="int64[3] folded = {-1, 5, 4}, int64[4] unfolded = {-1, 3, 5, 4}", heads="0, 5, 3, 4"
    )
    assert group_sizes(model) == [3, 4, 4]
    for batch in (1, 3):
        checked = assert_cut_equals_mask(model, free={"n": batch})
    assert checked.shape("wv") == (6, 2)


def test_two_blocks_share_their_targets_and_stay_apart() -> None:
    """One constant for all reshapes, as exporters write it, and a residual stream around both blocks."""

    def block(number: int, source: str, target: str) -> str:
        text = SEPARATE + CORE
        names = "q0 k0 v0 q1 k1 v1 q k v kt s z p m0 m f y wq wk wv wo".split()
        renamed = {"x": source, **{name: f"{name}_{number}" for name in names}}
        words = text.replace("(", " ( ").replace(")", " ) ").replace(",", " , ").split()
        return " ".join(renamed.get(word, word) for word in words) + f" {target} = Add({source}, y_{number}) "

    model = net(f"""(float[n, t, 5] x) => (float[n, t, 3] y) <float[5, 6] w0, float[6, 3] w1, float scale = {{0.5}},
        int64[4] heads = {{0, 0, 3, 4}}, int64[3] flat = {{0, 0, 12}},
        {", ".join(f"float[6, 12] w{r}_{n}" for r in "qkv" for n in (1, 2))}, float[12, 6] wo_1, float[12, 6] wo_2> {{
            a = MatMul(x, w0) {block(1, "a", "b")} {block(2, "b", "c")} y = MatMul(c, w1)
        }}""")
    assert group_sizes(model) == [3, 3, 4, 4, 4, 4, 6]
    checked = assert_cut_equals_mask(model, free={"t": 5})
    names = list(checked.keep)
    for name in names:
        assert_cut_equals_mask(model, {name: checked.keep[name]}, free={"t": 3})


def test_a_mask_of_another_layout_freezes_what_it_cannot_follow() -> None:
    """A bias per dimension of the scores of channel attention comes as a graph input: frozen, with the reason."""
    model = net("""(float[n, t, 6] x, float[n, 8] z) => (float[n, t, 3] y) <float[6, 8] w0, float[8, 3] w1> {
            c = MatMul(x, w0)
            g = Einsum<equation = "btc,bc->btc">(c, z)
            y = MatMul(g, w1)
        }""")
    assert frozen_reasons(model) == {
        "c": "z:1 is part of the graph input 'z'",
        "y": "y:2 is part of the graph output 'y'",
    }


def _repeated(sizes: str, target: str, joined: str) -> str:
    return "".join(
        f"{r}0 = MatMul(x, w{r}) {r}1 = Reshape({r}0, two_heads) {r}2 = Transpose<perm = [0, 2, 1, 3]>({r}1) "
        + sizes.replace("R", r)
        + f"{r}3 = Unsqueeze({r}2, i2) {target.replace('R', r)} {r}4 = Expand({r}3, {r}e) "
        + f"{r}j = Concat<axis = 0>({joined.replace('R', r)}) {r} = Reshape({r}4, {r}j) "
        for r in ("k", "v")
    )


@pytest.mark.parametrize(
    ("sizes", "target", "joined"),
    [
        (
            "Rs = Shape(R2) Rb = Gather(Rs, i0) Rh = Gather(Rs, i1) Rn = Gather(Rs, i2) Rd = Gather(Rs, i3) ",
            "Re = Concat<axis = 0>(Rb, Rh, n2, Rn, Rd)",
            "Rb, n4, Rn, Rd",
        ),
        (
            "Rs = Shape(x) Rb = Gather(Rs, i0) Rn = Gather(Rs, i1) ",
            "Rc = Concat<axis = 0>(Rb, n2, n2, Rn, n4) Rq = Equal(Rc, minus) Re = Where(Rq, ones, Rc)",
            "Rb, n4, Rn, n4",
        ),
    ],
)
def test_grouped_queries_expanded_to_sizes_from_shape(sizes: str, target: str, joined: str) -> None:
    """repeat_kv with everything traced: free batch and tokens stand in the targets of Expand and Reshape."""
    model = net(f"""(float[n, t, 6] x) => (float[n, t, 5] y) <{GROUPED}, int64[4] four = {{0, 0, 4, 4}},
        int64[4] two_heads = {{0, 0, 2, 4}}, int64[3] flat = {{0, 0, 16}}, int64[1] i0 = {{0}}, int64[1] i1 = {{1}},
        int64[1] i2 = {{2}}, int64[1] i3 = {{3}}, int64[1] n2 = {{2}}, int64[1] n4 = {{4}},
        int64[5] minus = {{-1, -1, -1, -1, -1}}, int64[5] ones = {{1, 1, 1, 1, 1}}> {{
            q0 = MatMul(x, wq) q1 = Reshape(q0, four) q = Transpose<perm = [0, 2, 1, 3]>(q1)
            {_repeated(sizes, target, joined)} {CORE}
        }}""")
    assert group_sizes(model) == [2, 4, 4]
    for batch, tokens in ((1, 5), (3, 2)):
        checked = assert_cut_equals_mask(model, free={"n": batch, "t": tokens})
    assert checked.shape("wq") == (6, 4)
    assert checked.shape("wk") == checked.shape("wv") == (6, 2)
    for name in checked.keep:
        assert_cut_equals_mask(model, {name: checked.keep[name]}, free={"n": 2, "t": 3})


def test_positions_turned_in_pairs_tie_the_halves_of_a_head() -> None:
    """Rotary embedding: the second half of every head comes in front, negated."""
    turned = "".join(
        f"{r}a = Slice({r}2, a, b, ax) {r}b = Slice({r}2, b, c, ax) {r}n = Neg({r}b) "
        f"{r}r = Concat<axis = 3>({r}n, {r}a) "
        f"{r}c = Mul({r}2, cos) {r}s = Mul({r}r, sin) {r} = Add({r}c, {r}s) "
        for r in ("q", "k")
    )
    nodes = SEPARATE.replace("q = T", "q2 = T").replace("k = T", "k2 = T") + turned + CORE
    extra = (
        "float[5, 4] cos, float[5, 4] sin, int64[1] a = {0}, int64[1] b = {2}, int64[1] c = {9223372036854775807}, "
        "int64[1] ax = {3}"
    )
    model = attention(nodes, tokens=5, extra=extra)
    assert group_sizes(model) == [2, 3, 4]
    checked = assert_cut_equals_mask(model)
    assert list(checked.value("b")) == [1]
    assert checked.shape("cos") == checked.shape("sin") == (5, 2)
    assert_heads_and_dimensions_go(checked)


def test_windows_of_a_shifted_window_transformer() -> None:
    """Partition into windows, attention in each, and back, all with a free batch written as -1."""
    model = net(
        """(float[n, 4, 4, 3] x) => (float[n, 4, 4, 5] y)
        <float[3, 6] w0, float[6, 12] wq, float[6, 12] wk, float[6, 12] wv, float[12, 6] wo, float[6, 5] w1,
         int64[6] part = {-1, 2, 2, 2, 2, 6}, int64[3] windows = {-1, 4, 6}, int64[4] heads = {-1, 4, 3, 4},
         int64[3] flat = {-1, 4, 12}, int64[4] back = {-1, 4, 4, 6}, float scale = {0.5}> {
            a = MatMul(x, w0)
            r1 = Reshape(a, part)
            r2 = Transpose<perm = [0, 1, 3, 2, 4, 5]>(r1)
            r = Reshape(r2, windows)
            """
        + SEPARATE.replace("(x,", "(r,")
        + CORE.replace("y = MatMul(f, wo)", "o = MatMul(f, wo)")
        + """
            o1 = Reshape(o, part)
            o2 = Transpose<perm = [0, 1, 3, 2, 4, 5]>(o1)
            o3 = Reshape(o2, back)
            e = Add(a, o3)
            y = MatMul(e, w1)
        }"""
    )
    assert group_sizes(model) == [3, 4, 4, 6]
    for batch in (1, 3):
        checked = assert_cut_equals_mask(model, free={"n": batch})
    assert_heads_and_dimensions_go(checked)


def test_a_norm_of_queries_and_keys_leaves_the_heads_as_the_exact_group() -> None:
    """The dimensions of the values are exact as well, beside the heads."""
    nodes = SEPARATE.replace("q = T", "q2 = T").replace("k = T", "k2 = T")
    nodes += "q = LayerNormalization(q2, g) k = LayerNormalization(k2, g)" + CORE
    model = attention(nodes, extra="float[4] g")
    assert group_sizes(model) == [HEADS, WIDTH]
    checked = assert_cut_equals_mask(model, free={"t": 5})
    assert checked.shape("wq") == checked.shape("wk") == (6, 4)
    assert checked.shape("wv") == (6, 2)
    assert checked.shape("g") == (4,)
    assert group_sizes(model, approximate=True) == [HEADS, WIDTH, WIDTH]
    assert assert_cut_equals_mask(model, approximate=True, free={"t": 5}).shape("g") == (2,)
