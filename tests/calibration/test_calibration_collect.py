"""Statistics against the same numbers computed from whole feature maps, over opsets, layouts, batches and classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from maps import CONVNET, dataset, full_maps
from nets import Array, analysed, net
from numpy.typing import NDArray

import onnxprune.calibration.collect as collecting
from onnxprune.calibration.accumulators import (
    ClassSums,
    Covariances,
    MapEntropies,
    MeanHistograms,
    MostClasses,
    PositionSums,
    SquareSums,
    bins_for,
    histogram_entropy,
)
from onnxprune.calibration.collect import collect
from onnxprune.calibration.points import Point
from onnxprune.calibration.probes import PROBES
from onnxprune.data import open_data
from onnxprune.data.split import choose
from onnxprune.runtime.session import Session
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.statistics import COVARIANCES, MEAN_COVARIANCES, VECTOR_COVARIANCES, Statistics

ALL = frozenset(PROBES)
TOGETHER = (COVARIANCES, MEAN_COVARIANCES, VECTOR_COVARIANCES)
EXACT = 1e-6
# One element in another bin (the runtime rounds differently when it fuses differently) moves an entropy by less.
BIN = 0.01

# layer -> the tensor where it is measured
MEASURED = {"c0": "r0", "c1": "r1", "h": "hr"}


def bin_numbers(value: Array, sample: Array, bins: int) -> NDArray[np.int64]:
    """Bin `value` as the method's page says: the range of `sample` and 0 in all bins but the outer two."""
    low, high = min(float(sample.min()), 0.0), max(float(sample.max()), 0.0)
    step = (high - low) / (bins - 3)
    numbers = np.rint(value / np.float32(step)).astype(np.int64) + 1 + round(-low / step)
    return np.asarray(np.clip(numbers, 0, bins - 1), dtype=np.int64)


def entropy(numbers: NDArray[np.int64]) -> float:
    _, counts = np.unique(numbers, return_counts=True)
    p = counts / counts.sum()
    return float(-(p * np.log(p)).sum())


def map_entropies(
    maps: Array, labels: NDArray[Any], sample: Array, positions: int | None = None
) -> NDArray[np.float64]:
    """Return H [classes, channels] of maps [images, channels, ...] with loops, zero for a class without images."""
    images, channels = maps.shape[:2]
    numbers = bin_numbers(maps, sample, min(64, max(8, positions or int(np.prod(maps.shape[2:])))))
    single = np.array([[entropy(numbers[i, j]) for j in range(channels)] for i in range(images)])
    return by_class(single, labels)


def by_class(values: Array, labels: NDArray[Any]) -> NDArray[np.float64]:
    means = np.zeros((5, values.shape[1]))
    for c in np.unique(labels):
        means[c] = values[labels == c].mean(axis=0)
    return means


def test_map_entropies_are_those_of_the_whole_maps(tmp_path: Path) -> None:
    analysis = analysed(net(CONVNET))
    labels = np.arange(30) % 5
    data = dataset(tmp_path, analysis, 30, labels)
    found = collect(analysis, data, ALL)
    maps = full_maps(analysis, data, list(MEASURED.values()))
    assert found.samples.tolist() == [6] * 5
    for layer in ("c0", "c1"):
        tensor = MEASURED[layer]
        assert (found.layers[layer].tensor, found.layers[layer].kind) == (tensor, "map")
        expected = map_entropies(maps[tensor], labels, maps[tensor])
        assert expected.min() > 0.5
        assert found.layers[layer].values["map entropy"] == pytest.approx(expected, abs=BIN)
        assert found.layers[layer].clipped <= 1e-3


def test_gap_entropies_are_those_of_the_histograms_of_means(tmp_path: Path) -> None:
    analysis = analysed(net(CONVNET))
    labels = np.arange(40) % 4  # class 4 has no image
    data = dataset(tmp_path, analysis, 40, labels)
    found = collect(analysis, data, frozenset({"gap entropy"}))
    maps = full_maps(analysis, data, ["r0", "r1"])
    for layer in ("c0", "c1"):
        means = maps[MEASURED[layer]].mean(axis=(2, 3))
        numbers = bin_numbers(means, means, 256)
        expected = np.array(
            [[entropy(numbers[labels == c, j]) if c < 4 else 0.0 for j in range(means.shape[1])] for c in range(5)]
        )
        # A mean on the edge of a bin moves the entropy of ten means by at most 2 / 10 of log 2.
        assert found.layers[layer].values["gap entropy"] == pytest.approx(expected, abs=0.15)
        assert np.abs(found.layers[layer].values["gap entropy"] - expected).mean() < BIN


def test_zeros_and_magnitudes_are_those_of_the_whole_tensors(tmp_path: Path) -> None:
    analysis = analysed(net(CONVNET))
    labels = np.arange(30) % 5
    data = dataset(tmp_path, analysis, 30, labels)
    found = collect(analysis, data, ALL)
    maps = full_maps(analysis, data, list(MEASURED.values()))
    assert set(found.layers["h"].values) == ALL - {"map entropy", "gap entropy", COVARIANCES}
    assert set(found.layers["c0"].values) == ALL - {"zeros", VECTOR_COVARIANCES}
    zeros = by_class((maps["hr"] == 0).astype(np.float64), labels)
    assert 0.05 < zeros.mean() < 0.95
    assert found.layers["h"].values["zeros"] == pytest.approx(zeros, abs=EXACT)
    for layer, tensor in MEASURED.items():
        axes = tuple(range(2, maps[tensor].ndim))
        expected = by_class(np.abs(maps[tensor]).mean(axis=axes), labels)
        assert found.layers[layer].values["mean magnitude"] == pytest.approx(expected, rel=1e-4, abs=EXACT)


def test_ranges_come_from_32_images_and_the_rest_is_clipped_and_counted(tmp_path: Path) -> None:
    analysis = analysed(net(CONVNET))
    labels = np.arange(100) % 5
    data = dataset(tmp_path, analysis, 100, labels)
    chosen = choose(data.labels, 100, 32, 0)
    outside = np.setdiff1d(np.arange(100), chosen)
    rows = np.load(tmp_path / "d.npz")
    x = rows["x"].copy()
    x[outside] *= 3
    np.savez(tmp_path / "d.npz", x=x, y=labels, class_names=rows["class_names"])
    data = open_data(tmp_path / "d.npz", analysis.graph.input_specs, Preprocess())
    found = collect(analysis, data, frozenset({"map entropy"}), seed=0).layers["c1"]
    maps = full_maps(analysis, data, ["r1"])["r1"]
    numbers = bin_numbers(maps, maps[chosen], 64)
    share = float(np.isin(numbers, (0, 63)).mean())
    assert share > 0.01
    assert found.clipped == pytest.approx(share, abs=1e-4)
    assert found.values["map entropy"] == pytest.approx(map_entropies(maps, labels, maps[chosen]), abs=BIN)


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 13, 17, 18, 21])
def test_every_opset_gives_the_same_statistics(tmp_path: Path, opset: int) -> None:
    analysis = analysed(net(CONVNET, opset=opset))
    labels = np.arange(20) % 5
    data = dataset(tmp_path, analysis, 20, labels)
    found = collect(analysis, data, ALL)
    maps = full_maps(analysis, data, ["r1", "hr"])
    assert found.layers["c1"].values["map entropy"] == pytest.approx(
        map_entropies(maps["r1"], labels, maps["r1"]), abs=BIN
    )
    zeros = by_class((maps["hr"] == 0).astype(np.float64), labels)
    assert found.layers["h"].values["zeros"] == pytest.approx(zeros, abs=EXACT)


def test_channels_last_maps_are_read_along_their_own_axis(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 4, 4, 3] x) => (float[n, 4, 4, 5] y) <float[3, 7] w0, float[7] b0, float[7, 5] w1> {
            a = MatMul(x, w0)
            c = Add(a, b0)
            r = Relu(c)
            y = MatMul(r, w1)
        }""")
    )
    labels = np.arange(10) % 5
    data = dataset(tmp_path, analysis, 10, labels)
    found = collect(analysis, data, ALL).layers["a"]
    maps = full_maps(analysis, data, ["r"])["r"]
    assert maps.shape == (10, 4, 4, 7)
    assert found.values["zeros"] == pytest.approx(by_class((maps == 0).mean(axis=(1, 2)), labels), abs=EXACT)
    assert found.values["mean magnitude"] == pytest.approx(by_class(np.abs(maps).mean(axis=(1, 2)), labels), rel=1e-4)


def test_a_convolution_seen_channels_last_has_the_same_entropy(tmp_path: Path) -> None:
    """A private chain never transposes, so a map on its last axis is made by hand."""
    point = Point("r", "r", axis=3, rank=4, channels=7, positions=16, kind="map", rows=1, activity="r")
    analysis = analysed(
        net("(float[n, 4, 4, 3] x) => (float[n, 4, 4, 7] r) <float[3, 7] w0> { a = MatMul(x, w0) r = Relu(a) }")
    )
    data = dataset(tmp_path, analysis, 10)
    maps = full_maps(analysis, data, ["a"]) | full_maps(analysis, data, ["r"])
    sample = maps["r"]
    limits = {("r", "map entropy"): (float(sample.min()), float(sample.max()))}
    slots, session = collecting._instrument(analysis.graph, [point], frozenset({"map entropy"}), limits, 5)
    assert session is not None
    labels = np.arange(10) % 5
    collecting._run(session, next(data.batches(10)).feeds, labels, np.full(10, 0.5), slots)
    expected = map_entropies(sample.transpose(0, 3, 1, 2), labels, sample)
    assert slots[0].accumulator.result(np.full(5, 2)) == pytest.approx(expected, abs=BIN)


def test_rows_of_one_sample_are_averaged_together(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 6, 5] x) => (float[m, 5] y) <float[5, 8] w0, float[8] b0, float[8, 5] w1, int64[2] flat = {-1, 5}> {
            t = Reshape(x, flat)
            a = MatMul(t, w0)
            c = Add(a, b0)
            r = Relu(c)
            y = MatMul(r, w1)
        }""")  # noqa: E501
    )
    labels = np.arange(10) % 5
    data = dataset(tmp_path, analysis, 10, labels)
    maps = full_maps(analysis, data, ["r"])["r"].reshape(10, 6, 8)
    for size in (1, 4, 10):
        found = collect(analysis, data, ALL, batch_size=size).layers["a"]
        assert found.values["zeros"] == pytest.approx(by_class((maps == 0).mean(axis=1), labels), abs=EXACT)


def test_rows_of_maps_make_one_histogram(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 4, 3, 6, 6] x) => (float[m, 2, 6, 6] y)
            <float[5, 3, 1, 1] w0, float[2, 5, 1, 1] w1, int64[4] frames = {-1, 3, 6, 6}> {
                t = Reshape(x, frames)
                a = Conv(t, w0)
                r = Relu(a)
                y = Conv(r, w1)
            }""")
    )
    labels = np.arange(10) % 5
    data = dataset(tmp_path, analysis, 10, labels)
    found = collect(analysis, data, ALL).layers["a"]
    maps = full_maps(analysis, data, ["r"])["r"].reshape(10, 4, 5, 36).transpose(0, 2, 1, 3)
    assert found.positions == 144
    assert found.values["map entropy"] == pytest.approx(map_entropies(maps, labels, maps), abs=BIN)
    assert np.isfinite(found.values["gap entropy"]).all()


def test_of_large_maps_every_third_row_and_column_is_counted(tmp_path: Path) -> None:
    analysis = analysed(
        net("""(float[n, 2, 20, 20] x) => (float[n, 3, 20, 20] y) <float[5, 2, 1, 1] w0, float[3, 5, 1, 1] w1> {
            a = Conv(x, w0)
            r = Relu(a)
            y = Conv(r, w1)
        }""")
    )
    labels = np.arange(10) % 5
    data = dataset(tmp_path, analysis, 10, labels)
    found = collect(analysis, data, frozenset({"map entropy"})).layers["a"]
    maps = full_maps(analysis, data, ["r"])["r"][:, :, ::3, ::3]
    expected = map_entropies(maps, labels, maps, positions=400)
    assert found.values["map entropy"] == pytest.approx(expected, abs=BIN)


@pytest.mark.parametrize("size", [1, 7, 32])
def test_statistics_do_not_depend_on_the_batch_size(tmp_path: Path, size: int) -> None:
    analysis = analysed(net(CONVNET))
    data = dataset(tmp_path, analysis, 45, np.arange(45) % 5)
    assert_alike(collect(analysis, data, ALL, batch_size=size), collect(analysis, data, ALL, batch_size=45))


@pytest.mark.parametrize("batch", ["1", "4"])
def test_a_fixed_batch_gives_the_statistics_of_a_free_one(tmp_path: Path, batch: str) -> None:
    free = analysed(net(CONVNET))
    fixed = analysed(net(CONVNET.replace("[n,", f"[{batch},")))
    labels = np.arange(30) % 5  # not a multiple of four: the last call is filled up
    expected = collect(free, dataset(tmp_path, free, 30, labels), ALL)
    assert_alike(collect(fixed, dataset(tmp_path, fixed, 30, labels), ALL), expected)


def test_a_graph_that_holds_a_batch_of_one_behind_a_free_input_is_fed_one_by_one(tmp_path: Path) -> None:
    """Only the model's own output, which is no output of the instrumented one, gives such exports away."""
    one = CONVNET.replace("(float[n, 5] y)", "(float[1, 5] y)").replace(
        "hr = Relu(h)", "e = Relu(h) hr = Reshape(e, row)"
    )
    one = one.replace("float[5] b3>", "float[5] b3, int64[2] row = {1, 10}>")
    held, free = analysed(net(one)), analysed(net(CONVNET))
    labels = np.arange(12) % 5
    found = collect(held, dataset(tmp_path, held, 12, labels), frozenset({"map entropy"}))
    whole = collect(free, dataset(tmp_path, free, 12, labels), frozenset({"map entropy"}))
    assert found.samples.sum() == 12
    for layer in ("c0", "c1"):
        expected = whole.layers[layer].values["map entropy"]
        assert found.layers[layer].values["map entropy"] == pytest.approx(expected, abs=BIN)


def assert_alike(a: Statistics, b: Statistics) -> None:
    assert a.samples.tolist() == b.samples.tolist()
    assert set(a.layers) == set(b.layers) == set(MEASURED)
    for name, layer in a.layers.items():
        assert set(layer.values) == set(b.layers[name].values)
        assert layer.positions == b.layers[name].positions
        for statistic, values in layer.values.items():
            if statistic == "gap entropy":  # one mean in another bin weighs a ninth of a class
                assert np.abs(values - b.layers[name].values[statistic]).mean() < BIN
            else:
                tolerance = BIN if "entropy" in statistic else 1e-5
                assert values == pytest.approx(b.layers[name].values[statistic], abs=tolerance), (name, statistic)


def test_unlabelled_data_is_one_class(tmp_path: Path) -> None:
    analysis = analysed(net(CONVNET))
    found = collect(analysis, dataset(tmp_path, analysis, 12), ALL)
    one = collect(analysis, dataset(tmp_path, analysis, 12, [0] * 12), ALL)
    assert (found.labelled, found.samples.tolist()) == (False, [12])
    assert (one.labelled, one.samples.tolist()) == (True, [12, 0, 0, 0, 0])
    for name, layer in found.layers.items():
        for statistic, values in layer.values.items():
            channels = layer.values["mean magnitude"].shape[1]
            assert values.shape[:2] == ((channels if statistic in TOGETHER else 1), channels)
            assert values[0] == pytest.approx(one.layers[name].values[statistic][0], abs=1e-9)


def test_a_class_without_images_is_absent_and_zero(tmp_path: Path) -> None:
    analysis = analysed(net(CONVNET))
    found = collect(analysis, dataset(tmp_path, analysis, 9, [0, 1, 3] * 3), ALL)
    assert found.samples.tolist() == [3, 3, 0, 3, 0]
    assert found.present.tolist() == [0, 1, 3]
    for layer in found.layers.values():
        assert layer.values["class wins"].shape == layer.values["mean magnitude"][:1].shape
        for name, values in layer.values.items():
            assert name in ("class wins", *TOGETHER) or (values[[2, 4]] == 0).all()


def test_statistics_are_read_only(tmp_path: Path) -> None:
    analysis = analysed(net(CONVNET))
    found = collect(analysis, dataset(tmp_path, analysis, 5), ALL)
    with pytest.raises(ValueError, match="read-only"):
        found.layers["c0"].values["map entropy"][0, 0] = 1.0


class Recorder(Session):
    """A session that remembers the size and type of everything that leaves the runtime."""

    runs: list["Recorder"]

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        Recorder.runs.append(self)
        self.left: list[tuple[str, tuple[int, ...]]] = []

    def run(self, feeds: Any, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        found = super().run(feeds, outputs)
        self.left.extend((value.dtype.name, value.shape) for value in found.values())
        return found


def test_only_reduced_values_leave_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "open_session", lambda model, _, **options: Recorder(model.SerializeToString(), **options))  # noqa: E501  # fmt: skip
    Recorder.runs = []
    analysis = analysed(net(CONVNET))
    collect(analysis, dataset(tmp_path, analysis, 10), frozenset({"map entropy", "zeros", "mean magnitude"}))
    ranges, statistics = [session for session in Recorder.runs if session.left]
    assert {shape for _, shape in ranges.left} == {()}
    # bins as bytes for the two maps, one number per image and channel for the rest
    assert sorted(statistics.left) == sorted(
        [
            ("uint8", (10, 8, 8, 8)),
            ("uint8", (10, 6, 8, 8)),
            ("float32", (10, 8)),
            ("float32", (10, 6)),
            ("float32", (10, 10)),
            ("float32", (10, 10)),
        ]
    )


@pytest.mark.parametrize("make", [entry.accumulate for entry in PROBES.values()])
def test_accumulators_do_not_grow_with_the_images(make: Any) -> None:
    accumulator = make(Point("a", "a", 1, 4, 6, 16, "map", 1, "a"), 3)
    rng = np.random.default_rng(0)
    shape = {MapEntropies: (50, 1, 6, 16), MeanHistograms: (50, 1, 6), ClassSums: (50, 1, 6), MostClasses: (6 * 16,)}
    if isinstance(accumulator, SquareSums):
        shape[SquareSums] = (50, 1, 6)
    elif isinstance(accumulator, PositionSums | Covariances):
        shape[type(accumulator)] = (50, 1, 6, 16)
    sizes = []
    for _ in range(3):
        value = rng.integers(0, 200, shape[type(accumulator)]).astype(np.uint8)
        accumulator.add(value, rng.integers(0, 3, 50))
        sizes.append(held_bytes(accumulator))
    assert sizes[0] == sizes[1] == sizes[2] > 0
    first = {MostClasses: 1, Covariances: 6}.get(type(accumulator), 3)
    assert accumulator.result(np.array([50, 50, 50])).shape[:2] == (first, 6)


def held_bytes(thing: Any) -> int:
    """Return the bytes of all arrays that an accumulator holds."""
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    return sum(held_bytes(value) for value in getattr(thing, "__dict__", {}).values())


def test_entropy_of_counts_by_hand() -> None:
    counts = np.array([[4, 0, 0], [2, 2, 0], [1, 1, 1], [0, 0, 0]])
    expected = [0.0, np.log(2), np.log(3), 0.0]
    assert histogram_entropy(counts, counts.sum(axis=-1)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("positions", "bins"), [(1, 8), (4, 8), (49, 49), (64, 64), (3136, 64)])
def test_tiny_maps_get_fewer_bins(positions: int, bins: int) -> None:
    assert bins_for(positions) == bins


def test_means_are_counted_by_class() -> None:
    accumulator = MeanHistograms(Point("a", "a", 1, 4, 1, 16, "map", 1, "a"), 2)
    accumulator.add(np.array([[[5]], [[9]], [[7]], [[0]]], dtype=np.uint8), np.array([0, 0, 1, 1]))
    accumulator.add(np.array([[[5]], [[7]]], dtype=np.uint8), np.array([0, 1]))
    thirds = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    assert accumulator.result(np.array([3, 3]))[:, 0] == pytest.approx([thirds, thirds], abs=1e-12)
    assert accumulator.clipped == (1, 6)


@pytest.mark.parametrize("kind", ["float16", "float", "double"])
def test_all_float_types_are_measured_as_float32(tmp_path: Path, kind: str) -> None:
    text = """(KIND[n, 9] x) => (KIND[n, 2] y) <KIND[9, 6] w0, KIND[6, 2] w1> {
        a = MatMul(x, w0)
        r = Relu(a)
        y = MatMul(r, w1)
    }""".replace("KIND", kind)
    analysis = analysed(net(text))
    data = dataset(tmp_path, analysis, 20)
    found = collect(analysis, data, ALL).layers["a"].values
    whole = full_maps(analysis, data, ["r"])["r"]
    assert found["zeros"][0] == pytest.approx((whole == 0).mean(axis=0), abs=EXACT)
    assert found["mean magnitude"][0] == pytest.approx(whole.mean(axis=0, dtype=np.float64), rel=2e-3)


def test_a_constant_and_a_dead_map_have_no_entropy(tmp_path: Path) -> None:
    model = net(CONVNET)
    for tensor in model.graph.initializer:
        if tensor.name in ("w1", "b1"):
            value = np.array(onnx.numpy_helper.to_array(tensor))
            value[0] = 0.0
            value[1] = 0.0 if tensor.name == "w1" else 0.25
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    analysis = analysed(model)
    found = collect(analysis, dataset(tmp_path, analysis, 5), ALL).layers["c1"].values
    assert found["map entropy"][0, :2].tolist() == [0.0, 0.0]
    assert found["map entropy"][0, 2:].min() > 0.1
    assert found["mean magnitude"][0, :2] == pytest.approx([0.0, 0.25], abs=EXACT)


def test_a_net_that_is_dead_throughout_gives_finite_statistics(tmp_path: Path) -> None:
    analysis = analysed(net(CONVNET))
    found = collect(analysis, dataset(tmp_path, analysis, 5, scale=0.0), ALL)
    for layer in found.layers.values():
        assert all(np.isfinite(values).all() for values in layer.values.values())


def test_nothing_to_prune_gives_no_layers(tmp_path: Path) -> None:
    analysis = analysed(net("(float[n, 3, 8, 8] x) => (float[n, 3, 8, 8] y) { y = Relu(x) }"))
    assert collect(analysis, dataset(tmp_path, analysis, 3), ALL).layers == {}
