"""Second moments of what layers read, against numpy over all their patches."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from maps import dataset, full_maps
from nets import Array, analysed, in_half, net

from onnxprune.analysis.analysis import Analysis
from onnxprune.calibration.collect import COARSE_IMAGES, collect
from onnxprune.calibration.moments import input_moments
from onnxprune.data import Dataset
from onnxprune.values.statistics import COARSE_MOMENTS, MOMENTS, Consumer


def consumers(analysis: Analysis, data: Dataset) -> dict[str, Consumer]:
    return {found.layer: found for found in collect(analysis, data, frozenset({MOMENTS})).consumers}


def unfolded(x: Array, kernel: int, stride: int, dilation: int, pad: int, groups: int) -> Array:
    """Return all patches with loops: [rows, groups, channels of a group x taps]."""
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)]).astype(np.float64)
    reach = (kernel - 1) * dilation + 1
    rows = [
        image[:, top : top + reach : dilation, left : left + reach : dilation].reshape(groups, -1)
        for image in x
        for top in range(0, x.shape[2] - reach + 1, stride)
        for left in range(0, x.shape[3] - reach + 1, stride)
    ]
    return np.stack(rows)


def test_moments_in_half_precision_are_added_up_in_single(tmp_path: Path) -> None:
    """The sums are beyond what 16 bits hold."""
    text = """(float[n, 2, 16, 16] x) => (float[n, 4, 16, 16] y)
        <float[6, 2, 1, 1] w0, float[6] b0 = {90.0, 90.0, 90.0, 90.0, 90.0, 90.0}, float[4, 6, 1, 1] w1> {
            a = Conv(x, w0, b0) s = Mul(a, a) r = Relu(s) y = Conv(r, w1) }"""
    both = []
    for model in (net(text), in_half(net(text))):
        analysis = analysed(model)
        both.append(consumers(analysis, dataset(tmp_path, analysis, 11))["y"].moments)
    assert np.isfinite(both[1]).all()
    np.testing.assert_allclose(both[1], both[0], rtol=0.05, atol=0.02 * np.abs(both[0]).max())


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "pad", "groups"),
    [(1, 1, 1, 0, 1), (3, 1, 1, 1, 1), (3, 2, 1, 1, 1), (2, 2, 2, 1, 2), (3, 1, 1, 0, 2)],
)
@pytest.mark.parametrize("n", ["n", "1", "4"])
def test_moments_of_a_convolution(
    tmp_path: Path, kernel: int, stride: int, dilation: int, pad: int, groups: int, n: str
) -> None:
    attributes = f"strides = [{stride}, {stride}], dilations = [{dilation}, {dilation}], group = {groups}"
    analysis = analysed(
        net(f"""(float[{n}, 2, 6, 5] x) => (float[{n}, 4, h, w] y)
            <float[6, 2, 1, 1] w0, float[6] b0, float[4, {6 // groups}, {kernel}, {kernel}] w1> {{
                a = Conv(x, w0, b0) r = Relu(a)
                y = Conv<{attributes}, pads = [{pad}, {pad}, {pad}, {pad}]>(r, w1)
            }}""")
    )
    data = dataset(tmp_path, analysis, 11)
    found = consumers(analysis, data)
    rows = unfolded(np.maximum(convolved(analysis, data), 0), kernel, stride, dilation, pad, groups)
    consumer = found["y"]
    assert consumer.channels == 6 // groups
    assert consumer.moments.shape == (groups, rows.shape[2], rows.shape[2])
    for group in range(groups):
        assert consumer.moments[group] == pytest.approx(np.cov(rows[:, group].T, bias=True), rel=1e-3, abs=1e-4)
    weight = analysis.graph.facts.known["w1"].first.astype(np.float64)
    assert consumer.matrix == pytest.approx(weight.reshape(groups, 4 // groups, -1).transpose(0, 2, 1))
    outputs = np.einsum("rgi,gio->rgo", rows, consumer.matrix).reshape(len(rows), -1)
    assert consumer.scale == pytest.approx(np.square(outputs - outputs.mean(axis=0)).sum(axis=1).mean(), rel=1e-3)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_coarse_moments_of_a_wide_layer_know_no_taps(tmp_path: Path, op: str, groups: int) -> None:
    outputs = 4 // groups if op == "ConvTranspose" else 4
    inputs = 192 if op == "ConvTranspose" else 192 // groups
    shape = f"{inputs}, {outputs}" if op == "ConvTranspose" else f"{outputs}, {inputs}"
    analysis = analysed(
        net(f"""(float[n, 2, 6, 5] x) => (float[n, 4, h, w] y)
            <float[192, 2, 1, 1] w0, float[192] b0, float[{shape}, 3, 3] w1> {{
                a = Conv(x, w0, b0) r = Relu(a) y = {op}<group = {groups}>(r, w1)
            }}""")
    )
    data = dataset(tmp_path, analysis, 11)
    fine, coarse = (collect(analysis, data, frozenset({needs})).consumers for needs in (MOMENTS, COARSE_MOMENTS))
    if groups == 2:
        assert [len(consumers) for consumers in (fine, coarse)] == ([0, 0] if op == "ConvTranspose" else [1, 1])
        return
    (consumer,) = coarse
    assert consumer.channels == 192
    assert consumer.moments.shape == (1, 192, 192)
    rows = np.maximum(convolved(analysis, data), 0).transpose(0, 2, 3, 1).reshape(-1, 192)
    np.testing.assert_allclose(consumer.moments[0], np.cov(rows.T, bias=True), rtol=1e-3, atol=1e-4)
    assert fine[0].moments.shape == (1, 192 * 9, 192 * 9)
    assert consumer.matrix.shape == (1, 192, 9 * 4)
    assert consumer.matrix[0, 7].reshape(9, 4) == pytest.approx(fine[0].matrix[0, 63:72])
    assert consumer.scale == pytest.approx(fine[0].scale, rel=0.1)
    assert consumer.inputs(np.array([[3], [5]])).tolist() == [[3], [5]]


def test_coarse_moments_of_a_small_layer_are_the_moments_over_some_samples(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 2, 4, 4] x) => (float[n, 3, 2, 2] y) <float[6, 2, 1, 1] w0, float[3, 6, 3, 3] w1> {
            a = Conv(x, w0) r = Relu(a) y = Conv(r, w1)
        }""")
    )
    few, many = dataset(tmp_path, analysis, 20), dataset(tmp_path, analysis, COARSE_IMAGES + 20)
    for data, same in ((few, True), (many, False)):
        fine, coarse = (collect(analysis, data, frozenset({needs})).consumers[0] for needs in (MOMENTS, COARSE_MOMENTS))
        assert np.array_equal(fine.moments, coarse.moments) is same
        assert coarse.moments == pytest.approx(fine.moments, abs=0.3 * np.abs(fine.moments).max())


def convolved(analysis: Analysis, data: Dataset) -> Array:
    known = analysis.graph.facts.known
    x = np.concatenate([batch.feeds["x"] for batch in data.batches(16)])
    mixed = np.einsum("nchw,oc->nohw", x, known["w0"].first[:, :, 0, 0])
    return np.asarray(mixed + known["b0"].first[:, None, None])


def test_the_error_is_weighed_behind_a_normalisation(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 2, 4, 4] x) => (float[n, 3, 4, 4] y)
            <float[6, 2, 1, 1] w0, float[3, 6, 1, 1] w1, float[3] s, float[3] b, float[3] m, float[3] v> {
                a = Conv(x, w0) r = Relu(a) c = Conv(r, w1) y = BatchNormalization(c, s, b, m, v)
            }""")
    )
    data = dataset(tmp_path, analysis, 12)
    (consumer,) = consumers(analysis, data).values()
    maps = full_maps(analysis, data, ["r"])
    known = {name: value.first.astype(np.float64) for name, value in analysis.graph.facts.known.items()}
    slope = known["s"] / np.sqrt(known["v"] + 1e-5)
    assert consumer.matrix[0] == pytest.approx(known["w1"][:, :, 0, 0].T * slope, rel=1e-5)
    rows = maps["r"].transpose(0, 2, 3, 1).reshape(-1, 6) @ consumer.matrix[0]
    assert consumer.scale == pytest.approx(rows.var(axis=0).sum(), rel=1e-3)


@pytest.mark.parametrize("layer", ["Gemm<transB = 1>(f, w1)", "MatMul(f, w2)"])
def test_moments_of_fully_connected_layers(tmp_path: Path, layer: str) -> None:
    analysis = analysed(
        net(f"""(float[n, 5] x) => (float[n, 3] y) <float[5, 7] w0, float[3, 7] w1, float[7, 3] w2> {{
            a = MatMul(x, w0) f = Relu(a) y = {layer}
        }}""")
    )
    data = dataset(tmp_path, analysis, 20)
    (consumer,) = consumers(analysis, data).values()
    f = full_maps(analysis, data, ["f"])["f"].astype(np.float64)
    assert consumer.moments[0] == pytest.approx(np.cov(f.T, bias=True), rel=1e-3, abs=1e-5)
    assert consumer.matrix.shape == (1, 7, 3)


def test_layers_that_cannot_be_written_so_are_left_out(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 2, 4, 4] x) => (float[n, 4, 5, 5] y)
            <float[6, 2, 1, 1] w0, float[6, 2, 2, 2] w1> {
                a = Conv(x, w0) r = Relu(a) y = ConvTranspose<group = 2>(r, w1)
            }""")
    )
    assert analysis.prunable
    assert consumers(analysis, dataset(tmp_path, analysis, 4)) == {}


def test_layers_that_share_a_weight_or_a_bias_count_each_by_itself(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 5] x) => (float[n, 7] y, float[n, 7] z)
            <float[5, 7] w0, float[5, 7] w1, float[7] b, float[7, 7] w2> {
                a = Gemm(x, w0, b) f = Relu(a) y = Gemm(f, w2, b)
                c = Gemm(x, w1, b) g = Relu(c) same = Identity(b) z = Gemm(g, w2, same)
            }""")
    )
    data = dataset(tmp_path, analysis, 20)
    found = consumers(analysis, data)
    maps = full_maps(analysis, data, ["f", "g"])
    assert set(found) == {"y", "z"}
    for output, source in (("y", "f"), ("z", "g")):
        assert found[output].moments[0] == pytest.approx(np.cov(maps[source].T, bias=True), rel=1e-3, abs=1e-5)


def test_variances_far_from_zero_are_not_lost_to_rounding(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 5] x) => (float[n, 3] y) <float[5, 7] w0, float[7] b, float[7, 3] w1> {
            a = MatMul(x, w0) s = Add(a, b) y = MatMul(s, w1)
        }""")
    )
    shifted = analysis.graph.model.graph.initializer
    (bias,) = (tensor for tensor in shifted if tensor.name == "b")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(7, 500.0, dtype=np.float32), "b"))
    data = dataset(tmp_path, analysis, 400)
    (consumer,) = consumers(analysis, data).values()
    maps = full_maps(analysis, data, ["s"])["s"].astype(np.float64)
    assert consumer.moments[0] == pytest.approx(np.cov(maps.T, bias=True), rel=1e-3, abs=1e-3)


def test_the_widest_layers_are_left_out_where_all_would_be_too_much(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 4] x) => (float[n, 3] y)
            <float[4, 6] w0, float[6, 9] w1, float[9, 5] w2, float[5, 3] w3> {
                a = MatMul(x, w0) b = Relu(a) c = MatMul(b, w1) d = Relu(c) e = MatMul(d, w2) f = Relu(e)
                y = MatMul(f, w3)
            }""")
    )
    data = dataset(tmp_path, analysis, 20)
    found = {most: [c.channels for c in input_moments(analysis, data, most_moments=most)] for most in (24, 61, 142)}
    assert found == {24: [], 61: [6, 5], 142: [6, 9, 5]}
