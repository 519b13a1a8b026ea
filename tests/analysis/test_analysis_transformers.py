"""Blocks of transformers beyond plain attention, as exporters write them: which groups they leave, exact or not."""

import onnx
import pytest
from nets import Checked, analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net


def assert_groups(model: onnx.ModelProto, exact: list[int], approximate: list[int] | None = None) -> Checked:
    """Check the sizes of the groups, exact alone and with approximate ones, and the cuts of both."""
    assert group_sizes(model) == exact
    approximate = exact if approximate is None else approximate
    assert group_sizes(model, approximate=True) == approximate
    allowed = analysed(model, approximate=True).prunable
    assert sum(group.approximate for group in allowed) == len(approximate) - len(exact) or approximate == exact
    last = None
    for batch in (1, 2):
        if approximate != exact:
            last = assert_cut_equals_mask(model, approximate=True, free={"n": batch})
        if exact:
            last = assert_cut_equals_mask(model, free={"n": batch})
    assert last is not None
    assert last.analysis.macs(last.keep) == analysed(last.model).macs()
    return last


def heads(name: str, target: str = "four", perm: str = "0, 2, 1, 3") -> str:
    """Write x W -> [n, t, h, d] -> [n, h, t, d]."""
    return (
        f"{name}0 = MatMul(x, w{name}) {name}1 = Reshape({name}0, {target}) "
        f"{name} = Transpose<perm = [{perm}]>({name}1) "
    )


QKV = heads("q") + heads("k") + heads("v")
MIX = "m0 = MatMul(p, v) m = Transpose<perm = [0, 2, 1, 3]>(m0) f = Reshape(m, flat) y = MatMul(f, wo)"
SCORES = "kt = Transpose<perm = [0, 1, 3, 2]>(k) s = MatMul(q, kt)"
KNOWN = """float[6, 12] wq, float[6, 12] wk, float[6, 12] wv, float[12, 5] wo, int64[4] four = {0, 5, 3, 4},
    int64[3] flat = {0, 5, 12}"""


def block(nodes: str, extra: str = "", *, known: str = KNOWN, opset: int = 17) -> onnx.ModelProto:
    """Write a block of three heads of four dimensions over five tokens of width six."""
    declared = f"{known}{', ' if extra else ''}{extra}"
    return net(f"(float[n, 5, 6] x) => (float[n, 5, 5] y) <{declared}> {{ {nodes} }}", opset=opset)


def test_one_head_of_keys_and_values_for_all_queries() -> None:
    known = (
        KNOWN.replace("[6, 12] wk", "[6, 4] wk").replace("[6, 12] wv", "[6, 4] wv") + ", int64[4] one = {0, 5, 1, 4}"
    )
    nodes = heads("q") + heads("k", "one") + heads("v", "one") + SCORES + " p = Softmax<axis = -1>(s) " + MIX
    checked = assert_groups(block(nodes, known=known), [3, 4, 4])
    assert checked.shape("wq") == (6, 2)
    assert checked.shape("wk") == checked.shape("wv") == (6, 2)


def test_one_product_split_on_a_leading_axis_of_three() -> None:
    known = "float[6, 36] w, float[12, 5] wo, int64[5] five = {0, 5, 3, 3, 4}, int64[3] flat = {0, 5, 12}"
    nodes = (
        "h = MatMul(x, w) r = Reshape(h, five) u = Transpose<perm = [2, 0, 3, 1, 4]>(r) "
        "q9, k9, v9 = Split<axis = 0>(u, ones) q = Squeeze(q9, zero) k = Squeeze(k9, zero) v = Squeeze(v9, zero) "
    )
    model = block(
        nodes + SCORES + " p = Softmax<axis = -1>(s) " + MIX,
        "int64[3] ones = {1, 1, 1}, int64[1] zero = {0}",
        known=known,
    )
    assert assert_groups(model, [3, 4]).shape("w") == (6, 6)


def test_projections_with_an_axis_for_the_heads() -> None:
    """Keras writes its projections [c, h, d]: heads and dimensions are axes of their own, so that both can go."""
    model = net("""(float[n, 5, 6] x) => (float[n, 5, 6] y)
        <float[6, 3, 4] wq, float[6, 3, 4] wk, float[6, 3, 4] wv, float[3, 4, 6] wo> {
            q = Einsum<equation = "abc,cde->abde">(x, wq)
            k = Einsum<equation = "abc,cde->abde">(x, wk)
            v = Einsum<equation = "abc,cde->abde">(x, wv)
            s = Einsum<equation = "aecd,abcd->acbe">(k, q)
            p = Softmax<axis = -1>(s)
            m = Einsum<equation = "acbe,aecd->abcd">(p, v)
            y = Einsum<equation = "abcd,cde->abe">(m, wo)
        }""")
    assert_groups(model, [3, 4, 4])


NORMED = """
    q2 = LayerNormalization(q, g) k2 = LayerNormalization(k, g)
    kt = Transpose<perm = [0, 1, 3, 2]>(k2) s = MatMul(q2, kt)
"""


@pytest.mark.parametrize(
    "bias",
    [
        "t0 = Gather(table, index) t1 = Transpose<perm = [2, 0, 1]>(t0) b = Unsqueeze(t1, front)",
        "t0 = Reshape(index, every) t1 = Gather(table, t0) t2 = Reshape(t1, square) "
        "t3 = Transpose<perm = [2, 0, 1]>(t2) b = Unsqueeze(t3, front)",
        "t0 = MatMul(code, wt) t1 = Relu(t0) t2 = MatMul(t1, wh) t3 = Gather(t2, index) "
        "t4 = Transpose<perm = [2, 0, 1]>(t3) b = Unsqueeze(t4, front)",
    ],
)
def test_a_table_of_relative_positions_follows_the_heads(bias: str) -> None:
    """Norms over the dimensions of q and k leave the heads, and the bias has one column per head."""
    index = ", ".join(str(i - j + 4) for i in range(5) for j in range(5))
    nodes = QKV + NORMED + bias + " z = Add(s, b) p = Softmax<axis = -1>(z) " + MIX
    extra = f"""float[4] g, float[9, 3] table, int64[5, 5] index = {{{index}}}, int64[1] front = {{0}},
        int64[1] every = {{25}}, int64[3] square = {{5, 5, -1}}, float[9, 2] code, float[2, 7] wt, float[7, 3] wh"""
    model = block(nodes, extra)
    assert group_sizes(model) == [3, 4]
    checked = assert_cut_equals_mask(model)
    assert (checked.shape("wq"), checked.shape("wv")) == ((6, 4), (6, 2))
    assert group_sizes(model, approximate=True) == [3, 4, 4]


def test_positions_turned_in_interleaved_pairs() -> None:
    """Rotary embedding as in GPT-J: neighbours 2i and 2i + 1 are turned together."""
    turned = "".join(
        f"{r}5 = Reshape({r}, pairs) {r}6, {r}7 = Split<axis = 4>({r}5, ones) {r}8 = Neg({r}7) "
        f"{r}9 = Concat<axis = 4>({r}8, {r}6) {r}a = Reshape({r}9, back) "
        f"{r}b = Mul({r}a, sin) {r}c = Mul({r}, cos) {r}d = Add({r}b, {r}c) "
        for r in ("q", "k")
    )
    nodes = QKV + turned + "kt = Transpose<perm = [0, 1, 3, 2]>(kd) s = MatMul(qd, kt) p = Softmax<axis = -1>(s) " + MIX
    extra = """int64[5] pairs = {0, 3, 5, 2, 2}, int64[4] back = {0, 3, 5, 4}, int64[2] ones = {1, 1},
        float[5, 4] sin, float[5, 4] cos"""
    checked = assert_groups(block(nodes, extra), [2, 3, 4])
    assert checked.shape("cos") == (5, 2)


def test_a_slope_per_head_leaves_the_dimensions() -> None:
    """ALiBi."""
    nodes = QKV + SCORES + " z = Add(s, slope) p = Softmax<axis = -1>(z) " + MIX
    assert assert_groups(block(nodes, "float[3, 1, 5] slope"), [3, 4, 4]).shape("slope") == (1, 1, 5)


def test_layers_over_heads_take_the_heads_where_they_lead() -> None:
    """Talking heads: a layer over heads sums what comes before, so that q and k lose other heads than v."""
    nodes = (
        QKV
        + SCORES
        + """
        a0 = Transpose<perm = [0, 2, 3, 1]>(s) a1 = MatMul(a0, wl) a = Transpose<perm = [0, 3, 1, 2]>(a1)
        p0 = Softmax<axis = -1>(a)
        b0 = Transpose<perm = [0, 2, 3, 1]>(p0) b1 = MatMul(b0, wm) p = Transpose<perm = [0, 3, 1, 2]>(b1)
    """
        + MIX
    )
    model = block(nodes, "float[3, 3] wl, float[3, 3] wm")
    checked = assert_groups(model, [3, 3, 3, 4, 4])
    assert checked.shape("wq") == checked.shape("wk") == (6, 2)
    assert checked.shape("wv") == (6, 2)
    assert checked.shape("wl") == (1, 1)


def test_class_attention_and_layer_scale() -> None:
    """CaiT: one query of the class token; the result is scaled per channel and added to the stream."""
    nodes = """
        a = MatMul(x, w0) l = LayerNormalization(a, g)
        c = Slice(l, i0, i1, i1)
        q0 = MatMul(c, wq) q1 = Reshape(q0, one) q = Transpose<perm = [0, 2, 1, 3]>(q1)
        k0 = MatMul(l, wk) k1 = Reshape(k0, four) kt = Transpose<perm = [0, 2, 3, 1]>(k1)
        v0 = MatMul(l, wv) v1 = Reshape(v0, four) v = Transpose<perm = [0, 2, 1, 3]>(v1)
        s = MatMul(q, kt) p = Softmax<axis = -1>(s)
        m0 = MatMul(p, v) m = Transpose<perm = [0, 2, 1, 3]>(m0) f = Reshape(m, flat)
        o = MatMul(f, wo) d = Mul(o, gamma) t = Slice(a, i0, i1, i1) e = Add(t, d) y = MatMul(e, w1)
    """
    model = net(f"""(float[n, 5, 7] x) => (float[n, 1, 5] y)
        <{KNOWN.replace("[12, 5] wo", "[12, 6] wo").replace("flat = {0, 5, 12}", "flat = {0, 1, 12}")}, float[7, 6] w0,
        float[6] g, int64[1] i0 = {{0}}, int64[1] i1 = {{1}}, int64[4] one = {{0, 1, 3, 4}}, float[6] gamma,
        float[6, 5] w1> {{ {nodes} }}""")
    assert assert_groups(model, [3, 4, 4], [3, 4, 4, 6]).shape("gamma") == (6,)


def test_cross_attention_between_two_inputs() -> None:
    nodes = "".join(heads(name).replace("(x,", f"({source},") for name, source in (("q", "x"), ("k", "z"), ("v", "z")))
    nodes = nodes.replace("(k0, four)", "(k0, other)").replace("(v0, four)", "(v0, other)")
    model = net(f"""(float[n, 5, 6] x, float[n, 7, 8] z) => (float[n, 5, 5] y)
        <{KNOWN.replace("[6, 12] wk", "[8, 12] wk").replace("[6, 12] wv", "[8, 12] wv")},
        int64[4] other = {{0, 7, 3, 4}}> {{
            {nodes} {SCORES} p = Softmax<axis = -1>(s) {MIX}
        }}""")
    assert assert_groups(model, [3, 4, 4]).shape("wk") == (8, 2)


def test_patches_merged_by_four_strided_slices() -> None:
    """Swin's downsampling: every other row and column, side by side as channels, normalised, projected."""
    parts = "".join(
        f"r{i}{j} = Slice(c, i{i}, far, i1, i2) s{i}{j} = Slice(r{i}{j}, i{j}, far, i2, i2) "
        for j in (0, 1)
        for i in (0, 1)
    )
    model = net(f"""(float[n, 4, 4, 3] x) => (float[n, 2, 2, 5] y)
        <float[3, 6] w0, float[24] g, float[24, 5] w1, int64[1] i0 = {{0}}, int64[1] i1 = {{1}}, int64[1] i2 = {{2}},
        int64[1] far = {{9223372036854775807}}> {{
            c = MatMul(x, w0) {parts} m = Concat<axis = -1>(s00, s10, s01, s11)
            l = LayerNormalization(m, g) y = MatMul(l, w1)
        }}""")
    assert group_sizes(model) == []
    assert group_sizes(model, approximate=True) == [6]
    checked = assert_cut_equals_mask(model, approximate=True)
    assert checked.shape("g") == (12,)
    assert checked.shape("w1") == (12, 5)


def test_layers_over_tokens() -> None:
    """MLP-Mixer: the hidden widths of both layers are exact, the stream is normalised, the tokens stay."""
    model = net("""(float[n, 5, 3] x) => (float[n, 5, 4] y)
        <float[3, 6] w0, float[6] g, float[5, 8] t0, float[8] tb, float[8, 5] t1, float[6, 10] c0, float[10, 6] c1,
        float[6, 4] w1> {
            a = MatMul(x, w0)
            l = LayerNormalization(a, g) lt = Transpose<perm = [0, 2, 1]>(l)
            h0 = MatMul(lt, t0) h1 = Add(h0, tb) h = Sigmoid(h1) o = MatMul(h, t1)
            ot = Transpose<perm = [0, 2, 1]>(o) b = Add(a, ot)
            l2 = LayerNormalization(b, g) e0 = MatMul(l2, c0) e = Sigmoid(e0) f = MatMul(e, c1) d = Add(b, f)
            y = MatMul(d, w1)
        }""")
    assert assert_groups(model, [8, 10], [6, 8, 10]).shape("tb") == (4,)


def test_a_gate_over_tokens_on_half_of_the_channels() -> None:
    """gMLP: one half is normalised and mixed over tokens, and gates the other."""
    model = net("""(float[n, 5, 3] x) => (float[n, 5, 4] y)
        <float[3, 12] w0, int64[2] halves = {6, 6}, float[6] g, float[5, 5] wt, float[5, 1] bt, float[6, 4] w1> {
            h0 = MatMul(x, w0) h = Sigmoid(h0)
            u, v = Split<axis = -1>(h, halves)
            l = LayerNormalization(v, g)
            t = MatMul(wt, l) b = Add(t, bt)
            s = Mul(u, b)
            y = MatMul(s, w1)
        }""")
    assert group_sizes(model) == []
    assert group_sizes(model, approximate=True) == [6]
    checked = assert_cut_equals_mask(model, approximate=True)
    assert list(checked.value("halves")) == [3, 3]
    assert checked.shape("wt") == (5, 5)


def test_gated_linear_units_lose_pairs() -> None:
    """SwiGLU with one product for gate and value, and an RMS norm written out in front."""
    model = net("""(float[n, 5, 3] x) => (float[n, 5, 4] y)
        <float[3, 6] w0, float[6] g, float two = {2}, float tiny = {0.001}, float[6, 16] w1, int64[2] halves = {8, 8},
        float[8, 4] w2> {
            a = MatMul(x, w0)
            sq = Pow(a, two) me = ReduceMean<axes = [-1]>(sq) ms = Add(me, tiny)
            rt = Sqrt(ms) no = Div(a, rt) l = Mul(no, g)
            h = MatMul(l, w1)
            u, v = Split<axis = -1>(h, halves)
            s = Sigmoid(u) w = Mul(u, s) z = Mul(w, v)
            y = MatMul(z, w2)
        }""")
    checked = assert_groups(model, [8], [6, 8])
    assert checked.shape("w1") == (6, 8)


def test_cross_covariance_attention_leaves_the_heads() -> None:
    """XCiT: queries and keys are divided by their norms over tokens, scores are [d, d], each head has a temperature."""
    nodes = (
        QKV
        + """
        qn = ReduceL2<axes = [2]>(q) qm = Max(qn, tiny) q5 = Div(q, qm)
        kn = ReduceL2<axes = [2]>(k) km = Max(kn, tiny) k5 = Div(k, km)
        qt = Transpose<perm = [0, 1, 3, 2]>(q5)
        s = MatMul(qt, k5) z = Mul(s, heat)
        p = Softmax<axis = -1>(z)
        vt = Transpose<perm = [0, 1, 3, 2]>(v)
        m0 = MatMul(p, vt) m = Transpose<perm = [0, 3, 1, 2]>(m0) f = Reshape(m, flat) y = MatMul(f, wo)
    """
    )
    model = block(nodes, "float[3, 1, 1] heat, float tiny = {0.001}")
    checked = assert_groups(model, [3, 4], [3, 4, 4])
    assert checked.shape("heat")[0] in (1, 2)


def test_linear_attention_without_softmax_is_exact() -> None:
    """EfficientViT: relu(q) (relu(k)' [v, 1]) with the last column as the divisor."""
    nodes = (
        QKV
        + """
        q5 = Relu(q) k5 = Relu(k) kt = Transpose<perm = [0, 1, 3, 2]>(k5)
        v5 = Pad(v, pads, one)
        kv = MatMul(kt, v5) o = MatMul(q5, kv)
        top, low = Split<axis = -1>(o, parts)
        lo = Add(low, one) m0 = Div(top, lo)
        m = Transpose<perm = [0, 2, 1, 3]>(m0) f = Reshape(m, flat) y = MatMul(f, wo)
    """
    )
    model = block(nodes, "int64[8] pads = {0, 0, 0, 0, 0, 0, 0, 1}, float one = {1}, int64[2] parts = {4, 1}")
    checked = assert_groups(model, [3, 4, 4])
    assert list(checked.value("parts")) == [2, 1]


def test_pooling_in_the_place_of_attention() -> None:
    """PoolFormer: pooled minus itself, scaled per channel, added to the stream; a norm over all of it."""
    model = net(
        """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[6, 3, 1, 1] w0, float[6] g, float[6] b, float[6, 1, 1] ls, float[8, 6, 1, 1] w1, float[6, 8, 1, 1] w2,
        float[4, 6, 1, 1] w3> {
            a = Conv(x, w0)
            l = GroupNormalization<num_groups = 1>(a, g, b)
            p = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(l)
            d = Sub(p, l) s = Mul(d, ls) e = Add(a, s)
            h0 = Conv(e, w1) h = Sigmoid(h0) o = Conv(h, w2) r = Add(e, o)
            y = Conv(r, w3)
        }""",
        opset=21,
        ir=10,
    )
    assert_groups(model, [8], [6, 8])


def test_a_fused_op_of_the_runtime_is_frozen_with_the_reason() -> None:
    model = net(
        """(float[n, 5, 6] x) => (float[n, 5, 4] y) <float[6, 8] w0, float[6, 8] w1, float[6, 8] w2, float[8, 4] w3> {
            q = MatMul(x, w0) k = MatMul(x, w1) v = MatMul(x, w2)
            a = com.microsoft.LinearAttention<num_heads = 2>(q, k, v)
            y = MatMul(a, w3)
        }""",
        domains={"com.microsoft": 1},
    )
    assert group_sizes(model, approximate=True) == []
    assert frozen_reasons(model)["q"] == "q:2 meets LinearAttention (node 3): op of a custom domain"


def test_the_channels_of_a_view_may_be_the_last_factor_that_is_tried() -> None:
    """A decoder begins with a matrix whose result is viewed as channels x height x width."""
    model = net("""(float[n, 5] x) => (float[n, 3, 4, 4] y) <float[5, 32] w0, float[32] b0, float[3, 8, 1, 1] w1,
        float[4] scales = {1, 1, 2, 2}, int64[4] view = {-1, 8, 2, 2}> {
            a = MatMul(x, w0)
            b = Add(a, b0)
            c = Reshape(b, view)
            d = Resize<mode = "nearest">(c, , scales)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (5, 16)
