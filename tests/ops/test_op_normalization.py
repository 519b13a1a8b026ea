"""Normalisations: exact beside the axis that they normalise over, approximate on request along it.

What an approximate cut has to give is computed twice: by the oracle and by numpy, from the definition of the norm.
"""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from nets import (
    Array,
    Checked,
    analysed,
    assert_cut_equals_mask,
    distance,
    frozen_reasons,
    group_sizes,
    net,
    random_feed,
    random_keep,
    run,
)

from onnxprune.surgery.cut import cut
from onnxprune.surgery.mask import masked_model

EPSILON = 1e-5


def initial(model: onnx.ModelProto, name: str) -> Array:
    """Return an initializer's value as float64."""
    found = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    return onnx.numpy_helper.to_array(found).astype(np.float64)


def normal(x: Array, axes: tuple[int, ...]) -> Array:
    """Normalise over `axes` by the definition."""
    centred = x - x.mean(axis=axes, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + EPSILON))


def softmax(x: Array, axis: int) -> Array:
    """Return softmax by the definition."""
    shares = np.exp(x)
    return np.asarray(shares / shares.sum(axis=axis, keepdims=True))


def cut_approximately(model: onnx.ModelProto, expected: Callable[[Array, Array], Array], **feed: int) -> Checked:
    """Cut half of the only group; check against the oracle and `expected(x, kept numbers)`."""
    assert group_sizes(model) == []
    analysis = analysed(model, approximate=True)
    assert len(analysis.prunable) == 1
    assert analysis.prunable[0].approximate
    assert all(group.approximate for group in analysed(model).groups if group.name == analysis.prunable[0].name)
    checked = assert_cut_equals_mask(model, approximate=True, free=feed)
    kept = np.flatnonzero(next(iter(checked.keep.values())))
    inputs = random_feed(model, free=feed)
    produced = run(checked.model, inputs)[0]
    np.testing.assert_allclose(produced, expected(inputs["x"].astype(np.float64), kept), rtol=2e-4, atol=2e-5)
    return checked


# ---- LayerNormalization ----


def layer_norm(op: str = "LayerNormalization", bias: str = ", b", attributes: str = "<axis = -1>") -> onnx.ModelProto:
    """Return a two-layer perceptron with a norm between."""
    return net(
        f"""(float[n, 3, 5] x) => (float[n, 3, 4] y) <float[5, 8] w0, float[8] s, float[8] b, float[8, 4] w1> {{
            c = MatMul(x, w0)
            d = {op}{attributes}(c, s{bias})
            y = MatMul(d, w1)
        }}""",
        opset=23 if op == "RMSNormalization" else 17,
        ir=10 if op == "RMSNormalization" else 8,
    )


@pytest.mark.parametrize("attributes", ["", "<axis = -1>", "<axis = 2>"])
def test_layer_norm_over_the_channels(attributes: str) -> None:
    model = layer_norm(attributes=attributes)
    group = analysed(model).by_name["c"]
    assert group.frozen == "c:2 meets LayerNormalization (node 1), which normalises over this axis"

    def expected(x: Array, kept: Array) -> Array:
        hidden = normal(x @ initial(model, "w0")[:, kept], (2,))
        return np.asarray((hidden * initial(model, "s")[kept] + initial(model, "b")[kept]) @ initial(model, "w1")[kept])

    checked = cut_approximately(model, expected)
    assert checked.shape("s") == checked.shape("b") == (4,)


def test_layer_norm_without_a_shift() -> None:
    model = layer_norm(bias="")

    def expected(x: Array, kept: Array) -> Array:
        hidden = normal(x @ initial(model, "w0")[:, kept], (2,))
        return np.asarray(hidden * initial(model, "s")[kept] @ initial(model, "w1")[kept])

    cut_approximately(model, expected)


def test_layer_norm_over_several_axes_carries_its_scale_on_both() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3, 4] y)
        <float[5, 8] w0, float[3, 8] s, float[8] b, float[8, 4] w1> {
            c = MatMul(x, w0)
            d = LayerNormalization<axis = 1>(c, s, b)
            y = MatMul(d, w1)
        }""")

    def expected(x: Array, kept: Array) -> Array:
        hidden = normal(x @ initial(model, "w0")[:, kept], (1, 2))
        scaled = hidden * initial(model, "s")[:, kept] + initial(model, "b")[kept]
        return np.asarray(scaled @ initial(model, "w1")[kept])

    assert cut_approximately(model, expected).shape("s") == (3, 4)


def test_layer_norm_beside_the_channels_is_exact() -> None:
    model = net("""(float[n, 3, 6] x) => (float[n, 4, 6] y)
        <float[8, 3, 1] w0, float[6] s, float[6] b, float[4, 8, 1] w1> {
            c = Conv(x, w0)
            d = LayerNormalization(c, s, b)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("s") == (6,)


def test_a_mean_that_is_read_freezes() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3, 4] y, float[n, 3, 1] m)
        <float[5, 8] w0, float[8] s, float[8] b, float[8, 4] w1> {
            c = MatMul(x, w0)
            d, m = LayerNormalization(c, s, b)
            y = MatMul(d, w1)
        }""")
    assert frozen_reasons(model, approximate=True)["c"] == (
        "c:2 meets LayerNormalization (node 1): its mean or deviation is used as well"
    )


def test_a_residual_stream_of_layer_norm_blocks_leaves_the_inner_channels_exact() -> None:
    """The MLP block of a transformer: the stream is normalised, the hidden layer is not."""
    model = net(
        """(float[n, t, 5] x) => (float[n, t, 3] y)
        <float[5, 6] w0, float[6] s, float[6] b, float[6, 16] w1, float[16] b1, float[16, 6] w2, float[6, 3] w3,
         float half = {0.5}, float one = {1}, float root = {1.4142135}> {
            a = MatMul(x, w0)
            d = LayerNormalization(a, s, b)
            h0 = MatMul(d, w1)
            h = Add(h0, b1)
            g0 = Div(h, root)
            g1 = Erf(g0)
            g2 = Add(g1, one)
            g3 = Mul(h, g2)
            g = Mul(g3, half)
            r = MatMul(g, w2)
            e = Add(a, r)
            y = MatMul(e, w3)
        }"""
    )
    assert group_sizes(model) == [16]
    assert assert_cut_equals_mask(model, free={"t": 4}).shape("b1") == (8,)
    assert group_sizes(model, approximate=True) == [6, 16]
    for tokens in (3, 4):
        checked = assert_cut_equals_mask(model, approximate=True, free={"t": tokens})
    assert checked.shape("s") == checked.shape("b") == (3,)


def test_rms_norm_over_the_channels() -> None:
    model = layer_norm("RMSNormalization", bias="")
    reason = "c:2 meets RMSNormalization (node 1), which normalises over this axis"
    assert frozen_reasons(model)["c"] == reason
    assert group_sizes(model) == []
    assert group_sizes(model, approximate=True) == [8]


# ---- InstanceNormalization and GroupNormalization ----


def test_instance_norm_is_exact_on_its_channels() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8] s, float[8] b, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            d = InstanceNormalization(c, s, b)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("s") == checked.shape("b") == (4,)


def test_instance_norm_lets_channels_through_that_are_its_batch() -> None:
    model = net("""(float[1, 3, 5, 5] x) => (float[1, 4, 5, 5] y)
        <float[6, 3, 1, 1] w0, float[1] s, float[1] b, float[4, 6, 1, 1] w1> {
            c = Conv(x, w0)
            t = Transpose<perm = [1, 0, 2, 3]>(c)
            d = InstanceNormalization(t, s, b)
            e = Transpose<perm = [1, 0, 2, 3]>(d)
            y = Conv(e, w1)
        }""")
    assert group_sizes(model) == [6]
    assert_cut_equals_mask(model)


def test_instance_norm_over_the_cut_axis_with_both_axes_cut() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 4, 6] y)
        <float[8, 3, 1] w0, float[5, 10] w1, float[8] s, float[4, 8, 1] w2, float[10, 6] w3> {
            c = Conv(x, w0)
            e = MatMul(c, w1)
            d = InstanceNormalization(e, s, s)
            r = Conv(d, w2)
            y = MatMul(r, w3)
        }""")
    assert group_sizes(model) == [8]
    assert group_sizes(model, approximate=True) == [8, 10]
    checked = assert_cut_equals_mask(model, approximate=True)
    x = random_feed(model)["x"].astype(np.float64)
    rows, columns = (np.flatnonzero(checked.keep[name]) for name in ("c", "e"))
    assert len(rows) == 4
    hidden = np.einsum("oi,nit->not", initial(model, "w0")[rows, :, 0], x) @ initial(model, "w1")[:, columns]
    scale = initial(model, "s")[rows][:, None]
    mixed = np.einsum("oi,nit->not", initial(model, "w2")[:, rows, 0], normal(hidden, (2,)) * scale + scale)
    np.testing.assert_allclose(
        run(checked.model, {"x": x.astype(np.float32)})[0], mixed @ initial(model, "w3")[columns], rtol=2e-4, atol=2e-5
    )


def group_norm(opset: int, groups: int) -> onnx.ModelProto:
    """Return two layers with a GroupNormalization between; its scale is per group before opset 21."""
    size = 12 if opset >= 21 else groups
    return net(
        f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[12, 3, 1, 1] w0, float[{size}] s, float[{size}] b, float[4, 12, 1, 1] w1> {{
            c = Conv(x, w0)
            d = GroupNormalization<num_groups = {groups}>(c, s, b)
            y = Conv(d, w1)
        }}""",
        opset=opset,
        ir=10,
    )


@pytest.mark.parametrize("groups", [2, 3, 6, 12])
def test_group_norm_loses_whole_groups_exactly(groups: int) -> None:
    model = group_norm(21, groups)
    assert group_sizes(model) == [groups]
    checked = assert_cut_equals_mask(model, free={"n": 2})
    assert checked.attribute("d", "num_groups") == groups // 2
    assert checked.shape("s") == checked.shape("w0")[:1] == (groups // 2 * (12 // groups),)


def test_a_trunk_under_two_group_norms_loses_what_is_whole_in_both() -> None:
    """As in U-Nets: 32 channels in groups of 4, and behind a Concat in groups of 8."""
    model = net(
        """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[32, 3, 1, 1] w0, float[32] s0, float[32] b0, float[32, 32, 1, 1] w1, float[64] s1, float[64] b1,
         float[4, 64, 1, 1] w2> {
            c = Conv(x, w0)
            d = GroupNormalization<num_groups = 8>(c, s0, b0)
            e = Conv(d, w1)
            k = Concat<axis = 1>(c, e)
            f = GroupNormalization<num_groups = 8>(k, s1, b1)
            y = Conv(f, w2)
        }""",
        opset=21,
        ir=10,
    )
    assert group_sizes(model) == [4, 4]
    checked = assert_cut_equals_mask(model)
    assert checked.attribute("d", "num_groups") == 4
    assert checked.attribute("f", "num_groups") == 4


@pytest.mark.parametrize(("opset", "groups"), [(18, 1), (18, 3), (21, 1), (21, 3)])
def test_group_norm_loses_equal_columns_on_request(opset: int, groups: int) -> None:
    model = group_norm(opset, groups)
    if (opset, groups) != (21, 3):
        assert frozen_reasons(model)["c"] == "c:1 meets GroupNormalization (node 1), which normalises over this axis"
    assert group_sizes(model, approximate=True) == [12 // groups]

    def expected(x: Array, kept: Array) -> Array:
        columns = np.concatenate([kept + group * (12 // groups) for group in range(groups)])
        c = np.einsum("oi,nihw->nohw", initial(model, "w0")[columns, :, 0, 0], x)
        grouped = normal(c.reshape(len(c), groups, -1), (2,)).reshape(c.shape)
        scale, shift = (
            initial(model, name)[columns] if opset >= 21 else np.repeat(initial(model, name), len(kept))
            for name in ("s", "b")
        )
        d = grouped * scale[:, None, None] + shift[:, None, None]
        return np.asarray(np.einsum("oi,nihw->nohw", initial(model, "w1")[:, columns, 0, 0], d))

    if opset >= 21:
        checked = assert_cut_equals_mask(model, approximate=True)
        kept, feed = np.flatnonzero(checked.keep["c"]), random_feed(model)
        given = expected(feed["x"].astype(np.float64), kept)
        np.testing.assert_allclose(run(checked.model, feed)[0], given, rtol=2e-4, atol=2e-5)
        assert checked.shape("s") == (6,)
        assert checked.shape("w0") == (6, 3, 1, 1)
        return
    # The version of opset 18 is withdrawn, so onnx's own checker takes no model that has it.
    analysis = analysed(model, approximate=True)
    keep = random_keep(analysis)
    slim = cut(analysis, keep).model
    feed = random_feed(model)
    produced = run(slim, feed)[0]
    kept = np.flatnonzero(keep["c"])
    np.testing.assert_allclose(produced, expected(feed["x"].astype(np.float64), kept), rtol=2e-4, atol=2e-5)
    assert distance(produced, run(masked_model(analysis, analysis.axis_masks(keep)), feed)[0]) < 1e-5
    assert {tensor.name: tensor.dims[0] for tensor in slim.graph.initializer}["s"] == groups


def test_group_norm_written_with_instance_norm_loses_whole_groups_exactly() -> None:
    """The way torch exports it before opset 18: [N, g, everything else] with scale 1, then the affine part."""
    model = net("""(float[n, 3, 4, 4] x) => (float[n, 4, 4, 4] y)
        <float[12, 3, 1, 1] w0, int64[3] grouped = {0, 3, -1}, float[3] one = {1, 1, 1}, float[3] zero = {0, 0, 0},
         float[12, 1, 1] s, float[12, 1, 1] b, float[4, 12, 1, 1] w1> {
            c = Conv(x, w0)
            g = Reshape(c, grouped)
            i = InstanceNormalization(g, one, zero)
            shape = Shape(c)
            back = Reshape(i, shape)
            e = Mul(back, s)
            d = Add(e, b)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [3]
    for batch in (1, 3):
        checked = assert_cut_equals_mask(model, free={"n": batch})
    assert checked.shape("one") == (checked.shape("w0")[0] // 4,)
    assert group_sizes(model, approximate=True) == [3, 4]
    assert_cut_equals_mask(model, approximate=True)


# ---- other ops over the cut axis ----


def test_softmax_over_the_channels() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 4, 5] y) <float[8, 3, 1] w0, float[4, 8, 1] w1> {
            c = Conv(x, w0)
            d = Softmax<axis = 1>(c)
            y = Conv(d, w1)
        }""")

    def expected(x: Array, kept: Array) -> Array:
        hidden = softmax(np.einsum("oi,nit->not", initial(model, "w0")[kept, :, 0], x), 1)
        return np.asarray(np.einsum("oi,nit->not", initial(model, "w1")[:, kept, 0], hidden))

    cut_approximately(model, expected)


def test_lrn_over_the_channels() -> None:
    """The window of the runtime: floor((size - 1) / 2) channels before, ceil of it after."""
    model = net("""(float[n, 3, 5, 2] x) => (float[n, 4, 5, 2] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c0 = Conv(x, w0)
            d0 = LRN<size = 3, alpha = 0.9, beta = 0.6, bias = 1.5>(c0)
            y = Conv(d0, w1)
        }""")

    def expected(x: Array, kept: Array) -> Array:
        c = np.einsum("oi,nihw->nohw", initial(model, "w0")[kept, :, 0, 0], x)
        squares = np.pad(c**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
        window = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
        normed = c / (1.5 + 0.9 / 3 * window) ** 0.6
        return np.asarray(np.einsum("oi,nihw->nohw", initial(model, "w1")[:, kept, 0, 0], normed))

    cut_approximately(model, expected)


@pytest.mark.parametrize(("op", "function"), [("ReduceMean", np.mean), ("ReduceMax", np.max)])
def test_a_reduction_over_the_channels(op: str, function: Callable[..., Array]) -> None:
    """Spatial attention: a map made of the channels gates them all."""
    model = net(f"""(float[n, 3, 5] x) => (float[n, 4, 5] y) <float[8, 3, 1] w0, float[4, 8, 1] w1> {{
            c = Conv(x, w0)
            m = {op}<axes = [1]>(c)
            g = Sigmoid(m)
            d = Mul(c, g)
            y = Conv(d, w1)
        }}""")

    def expected(x: Array, kept: Array) -> Array:
        c = np.einsum("oi,nit->not", initial(model, "w0")[kept, :, 0], x)
        gate = 1 / (1 + np.exp(-function(c, axis=1, keepdims=True)))
        return np.asarray(np.einsum("oi,nit->not", initial(model, "w1")[:, kept, 0], c * gate))

    cut_approximately(model, expected)


@pytest.mark.parametrize("centred", [True, False])
def test_a_norm_written_out_in_single_ops(centred: bool) -> None:
    """ReduceMean, Sub, Pow, ReduceMean, Sqrt, Div; without the first two it is the RMS norm."""
    centre = "m = ReduceMean<axes = [-1]>(c) z = Sub(c, m)" if centred else "z = Identity(c)"
    model = net(f"""(float[n, t, 5] x) => (float[n, t, 4] y)
        <float[5, 8] w0, float[8] s, float[8] b, float[8, 4] w1, float two = {{2}}, float eps = {{0.00001}}> {{
            c = MatMul(x, w0)
            {centre}
            p = Pow(z, two)
            v = ReduceMean<axes = [-1]>(p)
            e = Add(v, eps)
            q = Sqrt(e)
            u = Div(z, q)
            us = Mul(u, s)
            ub = Add(us, b)
            y = MatMul(ub, w1)
        }}""")

    def expected(x: Array, kept: Array) -> Array:
        c = x @ initial(model, "w0")[:, kept]
        z = c - c.mean(axis=2, keepdims=True) if centred else c
        u = z / np.sqrt((z**2).mean(axis=2, keepdims=True) + EPSILON)
        return np.asarray((u * initial(model, "s")[kept] + initial(model, "b")[kept]) @ initial(model, "w1")[kept])

    cut_approximately(model, expected, t=4)


def test_global_response_normalisation() -> None:
    """Every channel's size in space, as a share of the mean over the channels (ConvNeXt V2)."""
    model = net("""(float[n, 4, 4, 3] x) => (float[n, 4, 4, 5] y)
        <float[3, 8] w0, float[8] gamma, float[8] beta, float[8, 5] w1, float eps = {0.000001}> {
            c = MatMul(x, w0)
            l = ReduceL2<axes = [1, 2]>(c)
            m = ReduceMean<axes = [-1]>(l)
            e = Add(m, eps)
            r = Div(l, e)
            g = Mul(c, r)
            gg = Mul(g, gamma)
            gb = Add(gg, beta)
            d = Add(c, gb)
            y = MatMul(d, w1)
        }""")

    def expected(x: Array, kept: Array) -> Array:
        c = x @ initial(model, "w0")[:, kept]
        size = np.sqrt((c**2).sum(axis=(1, 2), keepdims=True))
        share = size / (size.mean(axis=-1, keepdims=True) + 1e-6)
        d = c + c * share * initial(model, "gamma")[kept] + initial(model, "beta")[kept]
        return np.asarray(d @ initial(model, "w1")[kept])

    cut_approximately(model, expected)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_over_channel_weights(kernel: int) -> None:
    """Efficient channel attention: a small window slides over the channels. A window of one is exact."""
    model = net(f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[1, 1, {kernel}] we, int64[3] row = {{0, 1, -1}}, int64[4] back = {{0, -1, 1, 1}},
         float[4, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            p = GlobalAveragePool(c)
            l = Reshape(p, row)
            e = Conv<pads = [{kernel // 2}, {kernel // 2}]>(l, we)
            g = Sigmoid(e)
            h = Reshape(g, back)
            d = Mul(c, h)
            y = Conv(d, w1)
        }}""")

    def expected(x: Array, kept: Array) -> Array:
        c = np.einsum("oi,nihw->nohw", initial(model, "w0")[kept, :, 0, 0], x)
        pooled = np.pad(c.mean(axis=(2, 3)), ((0, 0), (1, 1)))
        window = initial(model, "we")[0, 0]
        slid = sum(window[k] * pooled[:, k : k + len(kept)] for k in range(3))
        gated = c / (1 + np.exp(-slid))[:, :, None, None]
        return np.asarray(np.einsum("oi,nihw->nohw", initial(model, "w1")[:, kept, 0, 0], gated))

    if kernel == 1:
        assert group_sizes(model) == [8]
        checked = assert_cut_equals_mask(model)
    else:
        checked = cut_approximately(model, expected)
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def test_a_strided_window_of_the_same_size_is_not_let_through() -> None:
    model = net("""(float[n, 1, 5] x) => (float[n, 1, 4] y) <float[5, 4] w0, float[1, 1, 3] we, float[4, 4] w1> {
            c = MatMul(x, w0)
            e = Conv<pads = [3, 2], strides = [2]>(c, we)
            y = MatMul(e, w1)
        }""")
    assert frozen_reasons(model, approximate=True)["c"].startswith("c:2 meets Conv (node 1): this axis is not one")


def test_channels_and_positions_of_a_grouped_window_are_both_cut() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 4, 6] y)
        <float[8, 3, 1] w0, float[5, 10] w1, float[8, 1, 3] wd, float[4, 8, 1] w2, float[10, 6] w3> {
            c = Conv(x, w0)
            e = MatMul(c, w1)
            d = Conv<group = 8, pads = [1, 1]>(e, wd)
            r = Conv(d, w2)
            y = MatMul(r, w3)
        }""")
    assert group_sizes(model) == [8]
    assert group_sizes(model, approximate=True) == [8, 10]
    assert_cut_equals_mask(model, approximate=True)


def test_mean_variance_normalization_lets_channels_through() -> None:
    text = """(float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            d = MeanVarianceNormalizationAXES(c)
            y = Conv(d, w1)
        }"""
    model = net(text.replace("AXES", "<axes = [0, 2, 3]>"))
    assert group_sizes(model) == group_sizes(net(text.replace("AXES", ""))) == [8]
    assert_cut_equals_mask(model)
    model = net(text.replace("AXES", "<axes = [-3, 2, 3]>"))
    assert group_sizes(model) == []
    assert group_sizes(model, approximate=True) == [8]
    assert_cut_equals_mask(model, approximate=True)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [1, 3])
def test_an_lp_norm_is_a_sum_and_exact_on_any_axis(p: int, axis: int) -> None:
    model = net(f"""(float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            d = LpNormalization<p = {p}, axis = {axis}>(c)
            y = Conv(d, w1)
        }}""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)
