"""Sums by position, shares of activity and winners of pooling windows, against numpy on whole feature maps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from maps import dataset, full_maps
from nets import Array, analysed, net

from onnxprune.analysis.analysis import Analysis
from onnxprune.calibration.collect import collect
from onnxprune.calibration.points import find_points
from onnxprune.calibration.probes import POSITIONS, sampled_positions
from onnxprune.calibration.thinning import steps
from onnxprune.data import Dataset, open_data
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.statistics import COVARIANCES, MEAN_COVARIANCES, LayerStatistics

LABELS = np.array([0, 3, 1, 1, 0, 3, 3, 1, 0, 0, 1])  # classes 2 and 4 have no image


def pooled(pool: str, *, n: str = "n", channels: int = 4) -> str:
    """Return a net whose first layer is followed by a ReLU and by `pool`."""
    return f"""(float[{n}, 2, 7, 6] x) => (float[{n}, 3] y)
        <float[{channels}, 2, 3, 3] w0, float[{channels}] b0, float[3, {channels}] w1, float[3] b1> {{
            a = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
            r = Relu(a)
            {pool}
            g = GlobalAveragePool(p)
            f = Flatten(g)
            y = Gemm<transB = 1>(f, w1, b1)
        }}"""


def layer(analysis: Analysis, data: Dataset, *names: str, batch_size: int = 32) -> LayerStatistics:
    return collect(analysis, data, frozenset(names), batch_size=batch_size).layers["a"]


def share_by_class(active: Array, labels: Any = LABELS) -> Array:
    """Return the share of a class's images that are active, [classes with images, channels, positions]."""
    flat = active.reshape(*active.shape[:2], -1).astype(np.float64)
    return np.stack([flat[labels == c].mean(axis=0) for c in np.unique(labels)])


def winners(maps: Array, kernel: int, stride: int, pad: int) -> Array:
    """Return which positions are the (first) largest of a window that they lie in, with loops."""
    won = np.zeros(maps.shape, dtype=bool)
    height, width = maps.shape[2:]
    for top in range(-pad, height + pad - kernel + 1, stride):
        for left in range(-pad, width + pad - kernel + 1, stride):
            inside = [
                (y, x)
                for y in range(max(0, top), min(height, top + kernel))
                for x in range(max(0, left), min(width, left + kernel))
            ]
            best = np.stack([maps[:, :, y, x] for y, x in inside]).argmax(axis=0)
            for number, (y, x) in enumerate(inside):
                won[:, :, y, x] |= best == number
    return won


def test_without_pooling_a_position_counts_where_it_is_active(tmp_path: Path) -> None:
    analysis = analysed(net(pooled("p = Identity(r)")))
    data = dataset(tmp_path, analysis, 11, LABELS)
    maps = full_maps(analysis, data, ["r"])["r"]
    expected = share_by_class(maps > 0).sum(axis=0).max(axis=1)
    assert expected.max() <= 3
    assert layer(analysis, data, "class wins").values["class wins"] == pytest.approx(expected[None], abs=1e-6)


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 1, 0)])
@pytest.mark.parametrize("opset", [11, 17, 21])
def test_behind_a_max_pool_only_winners_count(tmp_path: Path, kernel: int, stride: int, pad: int, opset: int) -> None:
    attributes = (
        f"kernel_shape = [{kernel}, {kernel}], strides = [{stride}, {stride}], pads = [{pad}, {pad}, {pad}, {pad}]"
    )
    analysis = analysed(net(pooled(f"p = MaxPool<{attributes}>(r)"), opset=opset))
    data = dataset(tmp_path, analysis, 11, LABELS)
    maps = full_maps(analysis, data, ["r"])["r"]
    expected = share_by_class((maps > 0) & winners(maps, kernel, stride, pad)).sum(axis=0).max(axis=1)
    unpooled = share_by_class(maps > 0).sum(axis=0).max(axis=1)
    assert (expected < unpooled - 0.1).any(), "the pooling has to matter"
    for size in (4, 32):
        found = layer(analysis, data, "class wins", batch_size=size).values["class wins"]
        assert found == pytest.approx(expected[None], abs=1e-5)


def test_classes_are_added_up_before_the_maximum_over_positions(tmp_path: Path) -> None:
    """Two classes that light up different corners count one class each, not two."""
    analysis = analysed(
        net("""(float[n, 1, 1, 2] x) => (float[n, 1, 1, 2] y)
            <float[2, 1, 1, 1] w0 = {1.0, 1.0}, float[1, 2, 1, 1] w1> {
                a = Conv(x, w0) r = Relu(a) y = Conv(r, w1)
            }""")
    )
    x = np.array([[1.0, -1.0], [-1.0, 1.0]], dtype=np.float32).reshape(2, 1, 1, 2)
    np.savez(tmp_path / "d.npz", x=x, y=np.array([0, 1]))
    data = dataset_of(tmp_path / "d.npz", analysis)
    assert layer(analysis, data, "class wins").values["class wins"].tolist() == [[1.0, 1.0]]


def dataset_of(path: Path, analysis: Analysis) -> Dataset:
    return open_data(path, analysis.graph.input_specs, Preprocess(), classes=2)


RESIDUAL = """(float[n, 3, 4, 4] x) => (float[n, 2] y)
    <float[5, 3, 1, 1] w0, float[5] b0, float[5, 3, 3, 3] w1, float[5] b1, float[2, 5] w2> {
        a = Conv(x, w0, b0)
        b = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
        s = Add(a, b)
        r = Relu(s)
        g = GlobalAveragePool(r)
        f = Flatten(g)
        y = Gemm<transB = 1>(f, w2)
    }"""


def test_a_layer_that_feeds_a_sum_is_active_where_the_sum_is(tmp_path: Path) -> None:
    analysis = analysed(net(RESIDUAL))
    data = dataset(tmp_path, analysis, 11, LABELS)
    maps = full_maps(analysis, data, ["a", "b", "r"])
    expected = share_by_class(maps["r"] > 0).sum(axis=0).max(axis=1)[None]
    layers = collect(analysis, data, frozenset({"class wins"})).layers
    assert np.abs(expected - share_by_class(maps["a"] > 0).sum(axis=0).max(axis=1)).max() > 0.1
    for name in ("a", "b"):
        assert layers[name].values["class wins"] == pytest.approx(expected, abs=1e-6)


def test_samples_that_only_fill_up_a_call_weigh_nothing(tmp_path: Path) -> None:
    pool = "p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)"
    names = ("class wins", "position sums", "squares", "mean sums", "mean squares", "active share", COVARIANCES)
    free, fixed = analysed(net(pooled(pool))), analysed(net(pooled(pool, n="4")))
    data = dataset(tmp_path, free, 11, LABELS)
    expected = layer(free, data, *names).values
    for analysis in (fixed, analysed(net(pooled(pool, n="1")))):
        found = layer(analysis, dataset(tmp_path, analysis, 11, LABELS), *names).values
        for name in names:
            assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name


def test_position_sums_are_those_of_the_sampled_positions(tmp_path: Path) -> None:
    analysis = analysed(net(pooled("p = Identity(r)")))
    data = dataset(tmp_path, analysis, 11, LABELS)
    maps = full_maps(analysis, data, ["r"])["r"].reshape(11, 4, -1).astype(np.float64)
    chosen = np.arange(42).reshape(7, 6)[::2].ravel()  # every second row leaves 24 of 42
    assert len(chosen) <= POSITIONS < 42
    found = layer(analysis, data, "position sums", "squares", "mean sums", "mean squares", batch_size=3).values
    for c in range(5):
        mine = maps[c == LABELS]
        assert found["position sums"][c] == pytest.approx(mine[:, :, chosen].sum(axis=0), rel=1e-5, abs=1e-5)
        assert found["squares"][c] == pytest.approx(np.square(mine[:, :, chosen]).sum(axis=(0, 2)), rel=1e-5)
        assert found["mean sums"][c] == pytest.approx(mine.mean(axis=2).sum(axis=0)[:, None], rel=1e-5)
        assert found["mean squares"][c] == pytest.approx(np.square(mine.mean(axis=2)).sum(axis=0), rel=1e-5)


def test_covariances_are_within_the_classes_over_the_sampled_positions(tmp_path: Path) -> None:
    analysis = analysed(net(pooled("p = Identity(r)")))
    labels = np.arange(2000) % 5
    data = dataset(tmp_path, analysis, 2000, labels)
    maps = full_maps(analysis, data, ["r"])["r"].reshape(2000, 4, -1).astype(np.float64)
    chosen = np.arange(42).reshape(7, 6)[::2].ravel()
    found = layer(analysis, data, COVARIANCES, MEAN_COVARIANCES, batch_size=64).values
    for name, x in ((COVARIANCES, maps[:, :, chosen]), (MEAN_COVARIANCES, maps.mean(axis=2, keepdims=True))):
        about = np.concatenate([x[labels == c] - x[labels == c].mean(axis=(0, 2))[:, None] for c in range(5)])
        rows = about.transpose(0, 2, 1).reshape(-1, 4)
        expected = rows.T @ rows / len(rows)
        assert np.diag(found[name]) == pytest.approx(np.diag(expected), rel=1e-4)
        share = found[name][np.triu_indices(4, 1)] / expected[np.triu_indices(4, 1)]
        assert np.ptp(share) < 1e-3, "covariances are drawn towards nothing alike"
        assert 0.9 < share[0] <= 1, "hardly, with so many images"


def test_covariances_of_few_images_are_drawn_towards_nothing(tmp_path: Path) -> None:
    analysis = analysed(net(pooled("p = Identity(r)")))
    data = dataset(tmp_path, analysis, 4, [0] * 4)
    maps = full_maps(analysis, data, ["r"])["r"].reshape(4, 4, -1).astype(np.float64)
    found = layer(analysis, data, MEAN_COVARIANCES).values[MEAN_COVARIANCES]
    plain = np.cov(maps.mean(axis=2).T, bias=True)
    assert np.diag(found) == pytest.approx(np.diag(plain), rel=1e-4, abs=1e-9)
    assert np.abs(found - np.diag(np.diag(found))).max() < 0.7 * np.abs(plain - np.diag(np.diag(plain))).max()


def test_maps_of_another_size_than_the_nominal_one_are_looked_at_all_over(tmp_path: Path) -> None:
    text = pooled("p = Identity(r)").replace("7, 6] x", "h, w] x")
    analysis = analysed(net(text))
    for size in (3, 9, 80):
        x = np.random.default_rng(size).normal(size=(6, 2, size, size)).astype(np.float32)
        np.savez(tmp_path / "d.npz", x=x, y=np.arange(6) % 2)
        data = dataset_of(tmp_path / "d.npz", analysis)
        found = layer(analysis, data, "position sums").values["position sums"]
        maps = full_maps(analysis, data, ["r"])["r"].reshape(6, 4, -1)
        (point,) = [point for point in find_points(analysis) if point.layer == "a"]
        chosen = sampled_positions(point) * size**2 // (point.positions // point.rows)
        assert found[0] == pytest.approx(maps[::2][:, :, chosen].sum(axis=0), rel=1e-5, abs=1e-5)


def test_rows_of_a_sample_are_further_positions(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 4, 3, 2, 2] x) => (float[m, 2, 2, 2] y)
            <float[5, 3, 1, 1] w0, float[2, 5, 1, 1] w1, int64[4] frames = {-1, 3, 2, 2}> {
                t = Reshape(x, frames) a = Conv(t, w0) r = Relu(a) y = Conv(r, w1)
            }""")
    )
    data = dataset(tmp_path, analysis, 11, LABELS)
    maps = full_maps(analysis, data, ["r"])["r"].reshape(11, 4, 5, 4)
    found = layer(analysis, data, "class wins", "position sums", "squares", "mean sums").values
    expected = share_by_class((maps > 0).transpose(0, 2, 1, 3).reshape(11, 5, 16)).sum(axis=0).max(axis=1)
    assert found["class wins"] == pytest.approx(expected[None], abs=1e-6)
    for c in (0, 1, 3):
        mine = maps[c == LABELS].astype(np.float64)
        flat = mine.sum(axis=0).transpose(1, 0, 2).reshape(5, 16)
        assert found["position sums"][c] == pytest.approx(flat, rel=1e-5, abs=1e-6)
        assert found["squares"][c] == pytest.approx(np.square(mine).sum(axis=(0, 1, 3)), rel=1e-5)
        assert found["mean sums"][c] == pytest.approx(mine.mean(axis=3).sum(axis=0).T, rel=1e-5, abs=1e-6)


def test_the_active_share_is_that_of_values_that_are_not_zero(tmp_path: Path) -> None:
    analysis = analysed(net(pooled("p = Identity(r)")))
    data = dataset(tmp_path, analysis, 11, LABELS)
    maps = full_maps(analysis, data, ["r"])["r"]
    found = layer(analysis, data, "active share").values["active share"]
    for c in (0, 1, 3):
        assert found[c] == pytest.approx((maps[c == LABELS] != 0).mean(axis=(0, 2, 3)), abs=1e-6)


LARGE = pooled("p = Identity(r)").replace("7, 6] x", "34, 24] x")


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize("last", [False, True])
def test_large_maps_are_thinned_alike_for_all_channels(tmp_path: Path, opset: int, last: bool) -> None:
    """816 positions: every fourth row and every second column, 108, is what is searched and averaged."""
    text = LARGE
    if last:
        text = """(float[n, 34, 24, 2] x) => (float[n, 34, 24, 3] y) <float[2, 4] w0, float[4, 3] w1> {
            a = MatMul(x, w0) r = Relu(a) y = MatMul(r, w1)
        }"""
    analysis = analysed(net(text, opset=opset))
    data = dataset(tmp_path, analysis, 11, LABELS)
    maps = full_maps(analysis, data, ["r"])["r"]
    seen = (maps.transpose(0, 3, 1, 2) if last else maps)[:, :, ::4, ::2]
    found = layer(analysis, data, "class wins", "mean magnitude", "active share", batch_size=4).values
    assert found["class wins"] == pytest.approx(share_by_class(seen > 0).sum(axis=0).max(axis=1)[None], abs=1e-5)
    for c in (0, 1, 3):
        assert found["mean magnitude"][c] == pytest.approx(seen[c == LABELS].mean(axis=(0, 2, 3)), rel=1e-4)
        assert found["active share"][c] == pytest.approx((seen[c == LABELS] != 0).mean(axis=(0, 2, 3)), abs=1e-6)


@pytest.mark.parametrize(
    "activation", ["Relu(a)", "Clip(a, low, high)", "Clip(a, below, high)", "Tanh(a)", "Identity(a)"]
)
def test_magnitudes_are_those_of_signed_values_as_well(tmp_path: Path, activation: str) -> None:
    text = pooled("p = Identity(r)").replace("Relu(a)", activation)
    text = text.replace("float[3] b1>", "float[3] b1, float low = {0.0}, float below = {-0.5}, float high = {6.0}>")
    analysis = analysed(net(text))
    data = dataset(tmp_path, analysis, 11, LABELS)
    maps = full_maps(analysis, data, ["r"])["r"]
    found = layer(analysis, data, "mean magnitude").values["mean magnitude"]
    for c in (0, 1, 3):
        assert found[c] == pytest.approx(np.abs(maps[c == LABELS]).mean(axis=(0, 2, 3)), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("space", "most", "expected"), [((6, 5), 32, (1, 1)), ((112, 112), 32, (23, 19)), ((197,), 32, (7,)), ((), 32, ())]
)
def test_steps_are_much_alike_and_leave_enough(space: Any, most: int, expected: Any) -> None:
    assert steps(space, most) == expected
