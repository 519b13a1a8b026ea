"""Weights by channel and scales of normalisations, read from the model without any data."""

from pathlib import Path

import numpy as np
import pytest
from maps import CONVNET, dataset
from nets import Array, analysed, net

from onnxprune.calibration.collect import collect
from onnxprune.values.statistics import BN_SCALE, WEIGHTS, Statistics

BOTH = frozenset({WEIGHTS, BN_SCALE})


def stored(text: str) -> tuple[Statistics, dict[str, Array]]:
    model = net(text)
    analysis = analysed(model)
    weights = {name: known.first for name, known in analysis.graph.facts.known.items()}
    return collect(analysis, None, BOTH), weights


@pytest.mark.parametrize("groups", [1, 2])
def test_rows_of_convolutions_are_their_filters(groups: int) -> None:
    found, weights = stored(f"""(float[n, 4, 5, 5] x) => (float[n, 3, 5, 5] y)
        <float[6, {4 // groups}, 3, 3] w0, float[3, 6, 1, 1] w1> {{
            a = Conv<pads = [1, 1, 1, 1], group = {groups}>(x, w0) r = Relu(a) y = Conv(r, w1)
        }}""")
    assert found.layers["a"].weight_rows.tolist() == weights["w0"].reshape(6, -1).tolist()
    assert set(found.weighted) == {"a"}
    assert (found.labelled, found.samples.size) == (False, 0)


def test_rows_of_a_transposed_convolution_are_by_output_channel_across_groups() -> None:
    found, weights = stored("""(float[n, 4, 5, 5] x) => (float[n, 3, 6, 6] y)
        <float[4, 3, 2, 2] w0, float[3, 6, 1, 1] w1> {
            a = ConvTranspose<group = 2>(x, w0) r = Relu(a) y = Conv(r, w1)
        }""")
    rows = found.layers["a"].weight_rows
    assert rows.shape == (6, 8)
    for channel in range(6):
        group, within = divmod(channel, 3)
        assert rows[channel].tolist() == weights["w0"][2 * group : 2 * group + 2, within].ravel().tolist()


@pytest.mark.parametrize("transposed", [0, 1])
def test_rows_of_a_gemm_are_those_of_its_neurons(transposed: int) -> None:
    shape = "[6, 4]" if transposed else "[4, 6]"
    found, weights = stored(f"""(float[n, 4] x) => (float[n, 3] y) <float{shape} w0, float[6, 3] w1> {{
        a = Gemm<transB = {transposed}>(x, w0) r = Relu(a) y = MatMul(r, w1)
    }}""")
    expected = weights["w0"] if transposed else weights["w0"].T
    assert found.layers["a"].weight_rows.tolist() == expected.tolist()


def test_rows_of_a_product_with_the_weight_on_either_side() -> None:
    right, weights = stored("""(float[n, 7, 4] x) => (float[n, 7, 3] y) <float[4, 6] w0, float[6, 3] w1> {
        a = MatMul(x, w0) r = Relu(a) y = MatMul(r, w1)
    }""")
    assert right.layers["a"].weight_rows.tolist() == weights["w0"].T.tolist()
    left, weights = stored("""(float[n, 4, 7] x) => (float[n, 3, 7] y) <float[6, 4] w0, float[3, 6] w1> {
        a = MatMul(w0, x) r = Relu(a) y = MatMul(w1, r)
    }""")
    assert left.layers["a"].weight_rows.tolist() == weights["w0"].tolist()


def test_scales_are_those_of_a_normalisation_directly_behind() -> None:
    found, weights = stored("""(float[n, 2, 5, 5] x) => (float[n, 3, 5, 5] y)
        <float[4, 2, 1, 1] w0, float[4] s, float[4] b, float[4] m, float[4] v, float[5, 4, 1, 1] w1,
         float[3, 5, 1, 1] w2> {
            a = Conv(x, w0) n0 = BatchNormalization(a, s, b, m, v) r = Relu(n0)
            c = Conv(r, w1) q = Relu(c) y = Conv(q, w2)
        }""")
    assert found.layers["a"].values[BN_SCALE] == pytest.approx(weights["s"][None])
    assert BN_SCALE not in found.layers["c"].values


def test_weights_and_measurements_of_a_layer_come_together(tmp_path: Path) -> None:
    analysis = analysed(net(CONVNET))
    data = dataset(tmp_path, analysis, 10, np.arange(10) % 5)
    found = collect(analysis, data, frozenset({WEIGHTS, BN_SCALE, "mean magnitude"}))
    assert set(found.layers["c0"].values) == {BN_SCALE, "mean magnitude"}
    assert found.layers["c0"].weight_rows.shape == (8, 27)
    assert found.layers["c0"].tensor == "r0"
    assert found.samples.tolist() == [2] * 5
