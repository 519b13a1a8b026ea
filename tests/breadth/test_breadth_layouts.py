"""Nets as other exporters write them: channels last, one or three dimensions, recurrent heads, free sizes."""

from collections.abc import Mapping

import pytest
from nets import assert_cut_equals_mask, group_sizes, net

# By name: the net, the sizes of its groups, and what free sizes are fed.
NETS: dict[str, tuple[str, list[int], Mapping[str, int]]] = {
    "channels last with everything beside the convolutions there": (
        """(float[n, 16, 16, 3] x) => (float[n, 4] y) <
        float[8, 3, 3, 3] w0, float[1, 8, 1, 1] s0, float[1, 8, 1, 1] b0, float[3, 3, 8, 1] dwk,
        int64[4] dws = {8, 1, 3, 3}, float[8] s1, float[8] b1, float[12, 8, 1, 1] pw, float[12] pwb,
        float zero = {0}, float six = {6}, float[12, 4] w, float[4] b,
        int64[8] pads = {0, 0, 0, 0, 0, 1, 1, 0}, int64[2] sp = {1, 2}> {
            px = Pad(x, pads)
            t = Transpose<perm = [0, 3, 1, 2]>(px)
            c = Conv<strides = [2, 2], auto_pad = "VALID">(t, w0)
            m = Mul(c, s0)
            a = Add(m, b0)
            r = Min(a, six)
            r6 = Max(r, zero)
            dk = Reshape(dwk, dws)
            d = Conv<auto_pad = "SAME_UPPER", group = 8>(r6, dk)
            u = Transpose<perm = [0, 2, 3, 1]>(d)
            m1 = Mul(u, s1)
            a1 = Add(m1, b1)
            three = Constant<value = float {3.0}>()
            h1 = Add(a1, three)
            h2 = Clip(h1, zero, six)
            h3 = Mul(h2, a1)
            sixth = Constant<value = float {0.16666}>()
            h4 = Mul(h3, sixth)
            v = Transpose<perm = [0, 3, 1, 2]>(h4)
            e = Conv<auto_pad = "SAME_LOWER", strides = [2, 2]>(v, pw, pwb)
            z = Transpose<perm = [0, 2, 3, 1]>(e)
            q = Relu(z)
            g = ReduceMean<axes = [1, 2], keepdims = 1>(q)
            sq = Squeeze(g, sp)
            f = MatMul(sq, w)
            y = Add(f, b)
        }""",
        [8, 12],
        {},
    ),
    "dense layers on images": (
        """(float[n, 8, 8, 3] x) => (float[n, 8, 8, 4] y) <
        float[3, 16] w0, float[16] b0, float[16, 12] w1, float[12, 4] w2, int64[2] tt = {-1, 16},
        int64[4] t2 = {-1, 8, 8, 12}> {
            a = MatMul(x, w0)
            b = Add(a, b0)
            r = Relu(b)
            f = Reshape(r, tt)
            c = MatMul(f, w1)
            g = Reshape(c, t2)
            q = Relu(g)
            y = MatMul(q, w2)
        }""",
        [12, 16],
        {},
    ),
    "a gate on channels last": (
        """(float[n, 8, 8, 3] x) => (float[n, 4] y) <
        float[16, 3, 1, 1] w0, float[16, 4] s1, float[4, 16] s2, int64[4] sh = {-1, 1, 1, 16},
        float[16, 4] w2> {
            t = Transpose<perm = [0, 3, 1, 2]>(x)
            c = Conv(t, w0)
            u = Transpose<perm = [0, 2, 3, 1]>(c)
            m = ReduceMean<axes = [1, 2], keepdims = 0>(u)
            p = MatMul(m, s1)
            r = Relu(p)
            q = MatMul(r, s2)
            e = Sigmoid(q)
            k = Reshape(e, sh)
            z = Mul(u, k)
            o = ReduceMax<axes = [1, 2], keepdims = 0>(z)
            y = MatMul(o, w2)
        }""",
        [4, 16],
        {},
    ),
    "channels last flattened": (
        """(float[n, 8, 8, 3] x) => (float[n, 4] y) <
        float[16, 3, 1, 1] w0, float[1024, 10] w1, float[10, 4] w2, int64[2] sh = {-1, 1024}> {
            t = Transpose<perm = [0, 3, 1, 2]>(x)
            c = Conv(t, w0)
            u = Transpose<perm = [0, 2, 3, 1]>(c)
            k = Reshape(u, sh)
            z = MatMul(k, w1)
            r = Relu(z)
            y = MatMul(r, w2)
        }""",
        [10, 16],
        {},
    ),
    "a strided slice of space": (
        """(float[n, 8, 8, 3] x) => (float[n, 4] y) <
        float[16, 3, 1, 1] w0, float[16, 4] w1, int64[2] st = {0, 0},
        int64[2] en = {2147483647, 2147483647}, int64[2] ax = {1, 2}, int64[2] sp = {2, 2}> {
            t = Transpose<perm = [0, 3, 1, 2]>(x)
            c = Conv(t, w0)
            u = Transpose<perm = [0, 2, 3, 1]>(c)
            k = Slice(u, st, en, ax, sp)
            m = ReduceMean<axes = [1, 2], keepdims = 0>(k)
            y = MatMul(m, w1)
        }""",
        [16],
        {},
    ),
    "audio with a recurrent head": (
        """(float[n, 1, t] x) => (float[n, 4] y) <
        float[16, 1, 9] w0, float[12, 16, 5] w1, float[1, 30, 12] gw, float[1, 30, 10] gr,
        float[1, 60] gb, float[10, 4] w2, int64[1] zero = {0}> {
            a = Conv<strides = [4], dilations = [2]>(x, w0)
            r = Relu(a)
            b = Conv(r, w1)
            q = Relu(b)
            s = Transpose<perm = [2, 0, 1]>(q)
            g, h = GRU<hidden_size = 10>(s, gw, gr, gb)
            z = Squeeze(h, zero)
            y = MatMul(z, w2)
        }""",
        [10, 12, 16],
        {"t": 120},
    ),
    "both directions of a sequence": (
        """(float[n, t, 6] x) => (float[n, t, 4] y) <
        float[6, 16] w0, float[2, 30, 16] gw, float[2, 30, 10] gr, float[20, 4] w2,
        int64[3] sh = {0, 0, -1}> {
            a = MatMul(x, w0)
            r = Relu(a)
            s = Transpose<perm = [1, 0, 2]>(r)
            g, h = GRU<hidden_size = 10, direction = "bidirectional">(s, gw, gr)
            p = Transpose<perm = [2, 0, 1, 3]>(g)
            z = Reshape(p, sh)
            y = MatMul(z, w2)
        }""",
        [10, 16],
        {"t": 9},
    ),
    "a transposed convolution of given size": (
        """(float[n, 3, 8, 8] x) => (float[n, 4, 16, 16] y) <
        float[8, 3, 1, 1] w0, float[8, 6, 3, 3] w1, float[4, 6, 1, 1] w2> {
            a = Conv(x, w0)
            r = Relu(a)
            b = ConvTranspose<strides = [2, 2], output_shape = [16, 16]>(r, w1)
            q = Relu(b)
            y = Conv(q, w2)
        }""",
        [6, 8],
        {},
    ),
    "video": (
        """(float[n, 3, 4, 8, 8] x) => (float[n, 4] y) <
        float[8, 3, 3, 3, 3] w0, float[12, 8, 1, 3, 3] w1, float[12, 4] w2> {
            a = Conv<pads = [1, 1, 1, 1, 1, 1]>(x, w0)
            r = Relu(a)
            p = MaxPool<kernel_shape = [1, 2, 2], strides = [1, 2, 2]>(r)
            b = Conv(p, w1)
            q = Relu(b)
            g = GlobalAveragePool(q)
            f = Flatten(g)
            y = MatMul(f, w2)
        }""",
        [8, 12],
        {},
    ),
    "channels last of free size, resized by computed sizes": (
        """(float[n, h, w, 3] x) => (float[n, a, b, 4] y) <
        float[16, 3, 3, 3] w0, float[16, 1, 3, 3] w1, float[4, 16, 1, 1] w2, float[16] bb> {
            t = Transpose<perm = [0, 3, 1, 2]>(x)
            c = Conv<auto_pad = "SAME_UPPER">(t, w0)
            u = Transpose<perm = [0, 2, 3, 1]>(c)
            d = Add(u, bb)
            r = Relu(d)
            v = Transpose<perm = [0, 3, 1, 2]>(r)
            e = Conv<group = 16, auto_pad = "SAME_UPPER">(v, w1)
            s = Shape(e)
            st = Constant<value = int64[1]{2}>()
            en = Constant<value = int64[1]{4}>()
            hw = Slice(s, st, en)
            st0 = Constant<value = int64[1]{0}>()
            nc = Slice(s, st0, st)
            two = Constant<value = int64[1]{2}>()
            hw2 = Mul(hw, two)
            full = Concat<axis = 0>(nc, hw2)
            rs = Resize<mode = "nearest">(e, , , full)
            z = Conv(rs, w2)
            y = Transpose<perm = [0, 2, 3, 1]>(z)
        }""",
        [16],
        {},
    ),
}


@pytest.mark.parametrize("name", sorted(NETS))
def test_nets_of_other_exporters(name: str) -> None:
    text, sizes, free = NETS[name]
    model = net(text)
    assert group_sizes(model) == sizes
    assert_cut_equals_mask(model, free=free)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(("group", "sizes"), [(1, [8, 8]), (2, [4, 4]), (4, [2, 2]), (8, [8])])
def test_transposed_convolutions_with_groups_and_output_padding(dimensions: int, group: int, sizes: list[int]) -> None:
    def times(number: int | str) -> str:
        return ", ".join([str(number)] * dimensions)

    model = net(f"""(float[n, 3, {times(6)}] x) => (float[n, 4, {", ".join("hwd"[:dimensions])}] y)
        <float[8, 3, {times(1)}] w0, float[8, {8 // group}, {times(3)}] w1, float[8] b1, float[4, 8, {times(1)}] w2> {{
            a = Conv(x, w0)
            r = Relu(a)
            b = ConvTranspose<group = {group}, strides = [{times(2)}], output_padding = [{times(1)}]>(r, w1, b1)
            q = Relu(b)
            y = Conv(q, w2)
        }}""")
    assert group_sizes(model) == sizes
    assert_cut_equals_mask(model)
