"""Small nets with branches: what is known of each, and leaving some of them out."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from nets import analysed, net

from onnxprune.values.axes import BoolArray

RESIDUAL = """(float[n, 3, 6, 6] x) => (float[n, 5] y)
    <float[8, 3, 3, 3] w0, float[8] b0, float[6, 8, 3, 3] w1, float[6] b1, float[8, 6, 3, 3] w2, float[8] b2,
     float[7, 8, 3, 3] w3, float[8, 7, 3, 3] w4, float[8] b4, float[8, 5] w5> {
        stem = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
        r0 = Relu(stem)
        [one] c1 = Conv<pads = [1, 1, 1, 1]>(r0, w1, b1)
        [one_act] a1 = Relu(c1)
        [one_end] d1 = Conv<pads = [1, 1, 1, 1]>(a1, w2, b2)
        [sum1] s1 = Add(r0, d1)
        [act1] r1 = Relu(s1)
        [two] c2 = Conv<pads = [1, 1, 1, 1]>(r1, w3)
        [two_act] a2 = Relu(c2)
        [two_end] d2 = Conv<pads = [1, 1, 1, 1]>(a2, w4, b4)
        [sum2] s2 = Add(d2, r1)
        [act2] r2 = Relu(s2)
        p = GlobalAveragePool(r2)
        f = Flatten(p)
        y = Gemm(f, w5)
    }"""

PROJECTION = """(float[n, 4, 6, 6] x) => (float[n, 8, 3, 3] y)
    <float[6, 4, 3, 3] w0, float[8, 6, 1, 1] w1, float[8, 4, 1, 1] w2, float[8, 8, 1, 1] w3> {
        a = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w0)
        b = Relu(a)
        c = Conv(b, w1)
        short = Conv<strides = [2, 2]>(x, w2)
        s = Add(short, c)
        r = Relu(s)
        y = Conv(r, w3)
    }"""

OPTION_A = """(float[n, 4, 6, 6] x) => (float[n, 3, 3, 3] y)
    <float[4, 4, 1, 1] w, float[6, 4, 3, 3] w0, float[8, 6, 1, 1] w1, float[3, 8, 1, 1] w3, int64[2] starts = {0, 0},
     int64[2] ends = {6, 6}, int64[2] axes = {2, 3}, int64[2] steps = {2, 2},
     int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0}> {
        x0 = Conv(x, w)
        a = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x0, w0)
        b = Relu(a)
        c = Conv(b, w1)
        thin = Slice(x0, starts, ends, axes, steps)
        short = Pad(thin, pads)
        s = Add(c, short)
        r = Relu(s)
        y = Conv(r, w3)
    }"""

PRE_NORM = """(float[n, 5, 8] x) => (float[n, 5, 8] y)
    <float[8] scale, float[8] bias, float[8, 12] w0, float[12] b0, float[12, 8] w1, float[8] b1,
     float[8, 8] w2, float[8, 8] w3> {
        x0 = MatMul(x, w2)
        m = ReduceMean<axes = [-1]>(x0)
        d = Sub(x0, m)
        n1 = Mul(d, scale)
        n2 = Add(n1, bias)
        h = MatMul(n2, w0)
        hb = Add(h, b0)
        g = Sigmoid(hb)
        o = MatMul(g, w1)
        ob = Add(o, b1)
        s = Add(x0, ob)
        y = MatMul(s, w3)
    }"""

INCEPTION = """(float[n, 4, 6, 6] x) => (float[n, 3, 6, 6] y)
    <float[5, 4, 1, 1] w0, float[6, 4, 1, 1] w1, float[7, 6, 3, 3] w2, float[4, 4, 1, 1] w3, float[3, 16, 1, 1] w4> {
        a = Conv(x, w0)
        ar = Relu(a)
        b = Conv(x, w1)
        br = Relu(b)
        c = Conv<pads = [1, 1, 1, 1]>(br, w2)
        q = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)
        d = Conv(q, w3)
        j = Concat<axis = 1>(ar, c, d)
        r = Relu(j)
        y = Conv(r, w4)
    }"""

DENSE = """(float[n, 4, 6, 6] x) => (float[n, 3, 6, 6] y)
    <float[6, 4, 1, 1] w0, float[6, 6, 1, 1] w1, float[4, 6, 3, 3] w2, float[7, 10, 1, 1] w3, float[4, 7, 3, 3] w4,
     float[3, 14, 1, 1] w5, float[10] s1, float[10] t1, float[10] m1, float[10] v1> {
        f0 = Conv(x, w0)
        k1 = Conv(f0, w1)
        l1 = Relu(k1)
        f1 = Conv<pads = [1, 1, 1, 1]>(l1, w2)
        j1 = Concat<axis = 1>(f0, f1)
        z1 = Relu(j1)
        k2 = Conv(z1, w3)
        l2 = Relu(k2)
        f2 = Conv<pads = [1, 1, 1, 1]>(l2, w4)
        j2 = Concat<axis = 1>(f0, f1, f2)
        z2 = Relu(j2)
        y = Conv(z2, w5)
    }"""

THREE = """(float[n, 4, 6, 6] x) => (float[n, 3, 6, 6] y)
    <float[6, 4, 1, 1] w0, float[5, 6, 1, 1] w1, float[6, 5, 1, 1] w2, float[7, 6, 1, 1] w3, float[6, 7, 1, 1] w4,
     float[3, 6, 1, 1] w5> {
        a = Conv(x, w0)
        b = Conv(a, w1)
        br = Relu(b)
        b2 = Conv(br, w2)
        c = Conv(a, w3)
        cr = Relu(c)
        c2 = Conv(cr, w4)
        s = Sum(a, b2, c2)
        y = Conv(s, w5)
    }"""


class Branched(NamedTuple):
    """A net, and by branch its groups and the results of its nodes."""

    text: str
    branches: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]

    @property
    def model(self) -> onnx.ModelProto:
        """The net with random weights."""
        return net(self.text)


NETS = {
    "residual": Branched(RESIDUAL, {"d1": (("c1",), ("c1", "a1", "d1")), "d2": (("c2",), ("c2", "a2", "d2"))}),
    "projection": Branched(PROJECTION, {"c": (("a",), ("a", "b", "c"))}),
    "option A": Branched(OPTION_A, {"c": (("a",), ("a", "b", "c"))}),
    "pre-norm": Branched(PRE_NORM, {"ob": (("h",), ("m", "d", "n1", "n2", "h", "hb", "g", "o", "ob"))}),
    "inception": Branched(
        INCEPTION,
        {"ar": (("a",), ("a", "ar")), "c": (("b", "c"), ("b", "br", "c")), "d": (("d",), ("q", "d"))},
    ),
    "dense": Branched(
        DENSE, {"f1": (("k1", "f1"), ("k1", "l1", "f1")), "f2": (("k2", "f2"), ("j1", "z1", "k2", "l2", "f2"))}
    ),
    "three": Branched(THREE, {"b2": (("b",), ("b", "br", "b2")), "c2": (("c",), ("c", "cr", "c2"))}),
}


def without(model: onnx.ModelProto, *names: str) -> dict[str, BoolArray]:
    """Return the keep masks that leave out branches of these names."""
    analysis = analysed(model)
    branches = {branch.name: branch for branch in analysis.branches}
    groups = {group for name in names for group in branches[name].groups}
    return {group: np.zeros(analysis.by_name[group].size, dtype=bool) for group in groups}


def made(model: Any) -> list[str]:
    """Return what the nodes of a model make, in order."""
    return [node.output[0] for node in model.graph.node]
