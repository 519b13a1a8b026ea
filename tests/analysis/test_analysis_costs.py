"""Costs predicted for a cut are those of the cut model analysed anew."""

import onnx
import pytest
from nets import analysed, assert_cut_equals_mask, net

NETS = {
    "chain": """(float[n, 3, 8, 8] x) => (float[n, 4] y)
        <float[8, 3, 3, 3] w0, float[8] b0, float[6, 8, 3, 3] w1, float[6, 4] w2, float[4] b2> {
            a = Conv<strides = [2, 2]>(x, w0, b0)
            b = Conv(a, w1)
            p = GlobalAveragePool(b)
            f = Flatten(p)
            y = Gemm(f, w2, b2)
        }""",
    "mobile": """(float[n, 3, 8, 8] x) => (float[n, 4, 4, 4] y)
        <float[8, 3, 1, 1] w0, float[8, 1, 3, 3] w1, float[8] s, float[8] b, float[8] m, float[8] v,
         float[12, 4, 1, 1] w2, float[4, 12, 1, 1] w3> {
            a = Conv(x, w0)
            d = Conv<group = 8, pads = [1, 1, 1, 1], strides = [2, 2]>(a, w1)
            e = BatchNormalization(d, s, b, m, v)
            g = Conv<group = 2>(e, w2)
            y = Conv(g, w3)
        }""",
    "up and down": """(float[n, 3, 4, 4] x) => (float[n, 4, 8, 8] y)
        <float[6, 3, 1, 1] w0, float[6, 5, 2, 2] w1, float[10, 6, 1, 1] w2, float[10, 3, 2, 2] w3,
         float[4, 11, 1, 1] w4> {
            a = Conv(x, w0)
            b = ConvTranspose<strides = [2, 2]>(a, w1)
            c = Conv(a, w2)
            d = ConvTranspose<strides = [2, 2], group = 2>(c, w3)
            e = Concat<axis = 1>(b, d)
            y = Conv(e, w4)
        }""",
    "mixer": """(float[n, 6, 5] x) => (float[n, 6, 5] y)
        <float[5, 8] w0, float[6, 4] w1, float[4, 6] w2, float[8, 5] w3> {
            a = MatMul(x, w0)
            at = Transpose<perm = [0, 2, 1]>(a)
            b = MatMul(at, w1)
            c = MatMul(b, w2)
            ct = Transpose<perm = [0, 2, 1]>(c)
            y = MatMul(ct, w3)
        }""",
    "computed weight": """(float[n, 5] x) => (float[n, 4] y) <float[8, 5] w0, float[8, 4] w1> {
            t = Transpose(w0)
            c = MatMul(x, t)
            y = MatMul(c, w1)
        }""",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NETS))
@pytest.mark.parametrize("seed", [0, 1])
def test_predicted_costs_are_those_of_the_cut_model(name: str, seed: int) -> None:
    checked = assert_cut_equals_mask(net(NETS[name]), ratio=0.4, seed=seed)
    again = analysed(checked.model)
    assert checked.analysis.macs(checked.keep) == again.macs()
    assert checked.analysis.params(checked.keep) == again.params()
    assert again.macs() < checked.analysis.macs()
    assert again.params() < checked.analysis.params()


@pytest.mark.parametrize("name", sorted(NETS))
def test_params_are_the_elements_of_the_initializers(name: str) -> None:
    model = net(NETS[name])
    stored = sum(onnx.numpy_helper.to_array(tensor).size for tensor in model.graph.initializer)
    assert analysed(model).params() == stored


def test_macs_are_those_of_the_textbook() -> None:
    analysis = analysed(net(NETS["chain"]))
    assert analysis.macs() == 8 * 3 * 9 * 9 + 6 * 8 * 9 + 6 * 4
    assert analysis.costs.layer_macs({}) == {0: 8 * 3 * 9 * 9, 1: 6 * 8 * 9, 4: 6 * 4}


def test_the_layers_of_a_cut_net_are_costed_one_by_one() -> None:
    checked = assert_cut_equals_mask(net(NETS["mobile"]))
    predicted = checked.analysis.costs.layer_macs({name: int(mask.sum()) for name, mask in checked.keep.items()})
    assert predicted == analysed(checked.model).costs.layer_macs({})
    assert sum(predicted.values()) == checked.analysis.macs(checked.keep)


def test_a_shared_constant_counts_once_before_the_cut() -> None:
    model = net("""(float[n, 8] x) => (float[n, 8] y) <float[8, 8] w> {
            a = MatMul(x, w)
            b = Relu(a)
            y = MatMul(b, w)
        }""")
    assert analysed(model).params() == 64
    assert analysed(model).macs() == 128
