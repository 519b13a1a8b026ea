"""What a branch made on the average goes into a bias, where one reaches the sum unchanged."""

import numpy as np
import onnx
import pytest
from branched import NETS, without
from nets import analysed, net
from recoveries import Case, case

from onnxprune.graph.storage.weights import named_tensors
from onnxprune.recovery.branch_means import NOWHERE

STREAM = """(float[n, 5, 8] x) => (float[n, 5, 8] y)
    <float[8, 8] w, float[8] b, float[8] scale, float[8, 12] w0, float[12, 8] w1, float[8] b1,
     float[8, 12] v0, float[12, 8] v1, float[8] c1, float[8, 8] u> {
        x0 = MatMul(x, w)
        x1 = Add(x0, b)
        n1 = Mul(x1, scale)
        h = MatMul(n1, w0)
        g = Sigmoid(h)
        o = MatMul(g, w1)
        ob = Add(o, b1)
        s = Add(x1, ob)
        n2 = Mul(s, scale)
        k = MatMul(n2, v0)
        l = Sigmoid(k)
        p = MatMul(l, v1)
        pb = Add(p, c1)
        t = Add(pb, s)
        y = MatMul(t, u)
    }"""

BOTTLENECK = """(float[n, 4, 6, 6] x) => (float[n, 3, 6, 6] y)
    <float[6, 4, 1, 1] w, float[6] s, float[6] b, float[6] m, float[6] q, float[9, 6, 1, 1] w0, float[6, 9, 1, 1] w1,
     float[6] b1, float[3, 6, 1, 1] u> {
        a = Conv(x, w)
        e = BatchNormalization(a, s, b, m, q)
        c = Conv(e, w0)
        r = Relu(c)
        d = Conv(r, w1, b1)
        t = Add(e, d)
        y = Conv(t, u)
    }"""


def constant(model: onnx.ModelProto, *last: str) -> onnx.ModelProto:
    """Make the weights of these layers zero, so that their branches make nothing but their biases."""
    for name in last:
        tensor = named_tensors(model.graph)[name]
        tensor.CopyFrom(onnx.numpy_helper.from_array(0 * onnx.numpy_helper.to_array(tensor), name))
    return model


def left_out(model: onnx.ModelProto, shape: tuple[int, ...], *branches: str) -> Case:
    return case(model, shape, keep=without(model, *branches))


@pytest.mark.parametrize("branches", [("ob",), ("pb",), ("ob", "pb")])
def test_the_constant_of_branches_of_a_linear_stream_is_given_back_whole(branches: tuple[str, ...]) -> None:
    model = constant(net(STREAM), *({"ob": "w1", "pb": "v1"}[name] for name in branches))
    found = left_out(model, (5, 8), *branches)
    assert found.error(found.result.model) > 1e-3, "the constants have to matter, or there is nothing to see"
    after = found.recovered("fold")
    assert found.error(after.model) < 1e-9
    assert after.solved.keys() >= {{"ob": "s", "pb": "t"}[name] for name in branches}
    assert not after.skipped


def test_a_normalisation_before_the_sum_takes_it_by_its_own_scale() -> None:
    model = constant(net(BOTTLENECK), "w1")
    found = left_out(model, (4, 6, 6), "d")
    assert found.error(found.result.model) > 1e-3
    after = found.recovered("fold").model
    assert found.error(after) < 1e-9
    before, now = named_tensors(found.result.model.graph), named_tensors(after.graph)
    assert {name for name in now if now[name].raw_data != before[name].raw_data} == {"b"}


def test_a_branch_that_varies_leaves_no_more_than_its_spread() -> None:
    found = left_out(net(BOTTLENECK), (4, 6, 6), "d")
    after = found.recovered("fold")
    assert 0 < after.solved["t"] < 1
    assert found.error(after.model) < found.error(found.result.model)


@pytest.mark.parametrize(("name", "branch", "total"), [("residual", "d1", "s1"), ("pre-norm", "ob", "s")])
def test_where_no_bias_reaches_the_sum_it_is_said(name: str, branch: str, total: str) -> None:
    model = NETS[name].model
    shape = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:])
    after = left_out(model, shape, branch).recovered("fold")
    assert after.skipped == {total: NOWHERE}
    assert total not in after.solved


def test_what_is_no_sum_and_what_lies_in_another_branch_get_nothing() -> None:
    found = left_out(NETS["inception"].model, (4, 6, 6), "c").recovered("fold")
    assert not found.skipped
    outer = """(float[n, 4, 6, 6] x) => (float[n, 3, 6, 6] y)
        <float[6, 4, 1, 1] w, float[6] b, float[5, 6, 1, 1] w0, float[5] b0, float[7, 5, 1, 1] w1, float[5, 7, 1, 1] w2,
         float[5] b2, float[6, 5, 1, 1] w3, float[3, 6, 1, 1] u> {
            a = Conv(x, w, b)
            c = Conv(a, w0, b0)
            d = Conv(c, w1)
            e = Relu(d)
            f = Conv(e, w2, b2)
            g = Add(c, f)
            h = Conv(g, w3)
            t = Add(a, h)
            y = Conv(t, u)
        }"""
    model = net(outer)
    names = [branch.name for branch in analysed(model).branches]
    assert names == ["f", "h"]
    after = left_out(model, (4, 6, 6), *names).recovered("fold")
    assert "g" not in {*after.solved, *after.skipped}
    assert "t" in after.solved
    assert np.isfinite(after.solved["t"])
