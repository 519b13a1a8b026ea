"""Samples from .npz: pixels, preprocessed arrays, several inputs, and every refusal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refused

from onnxprune.data import Dataset, open_data
from onnxprune.errors import Code
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import Preprocess

RGB = (TensorSpec("image", (None, 3, 6, 8), "float32"),)
GREY = (TensorSpec("image", (None, 1, 6, 8), "float32"),)
RAW = Preprocess(scale=1.0)
RNG = np.random.default_rng(3)


def opened(
    folder: Path, inputs: Any, preprocess: Preprocess = RAW, classes: int | None = None, **arrays: Any
) -> Dataset:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return open_data(path, inputs, preprocess, classes=classes)


def first(data: Dataset, size: int = 100) -> dict[str, Any]:
    return next(data.batches(size)).feeds


@pytest.mark.parametrize("last", [True, False])
def test_uint8_is_preprocessed_from_either_layout(tmp_path: Path, last: bool) -> None:
    x = RNG.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    data = opened(tmp_path, RGB, Preprocess(), x=x if last else x.transpose(0, 3, 1, 2), y=np.array([0, 1, 1, 0]))
    np.testing.assert_allclose(first(data)["image"], x.transpose(0, 3, 1, 2) / 255, rtol=0, atol=1e-6)
    assert not data.preprocessed
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 1, 0]


def test_uint8_without_channel_axis_feeds_a_grey_model(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (4, 6, 8), dtype=np.uint8)
    np.testing.assert_array_equal(first(opened(tmp_path, GREY, x=x))["image"][:, 0], x)


def test_uint8_is_resized(tmp_path: Path) -> None:
    x = np.full((2, 30, 40), 50, dtype=np.uint8)
    feed = first(opened(tmp_path, GREY, Preprocess(scale=1.0, resize=(6, 8)), x=x))["image"]
    np.testing.assert_array_equal(feed, np.full((2, 1, 6, 8), 50))


def test_floats_are_fed_as_they_are(tmp_path: Path) -> None:
    x = RNG.normal(size=(4, 3, 6, 8))
    data = opened(tmp_path, RGB, Preprocess().with_preset("imagenet"), x=x)
    assert data.preprocessed
    assert data.labels is None
    np.testing.assert_array_equal(first(data)["image"], x.astype(np.float32))
    assert data.with_preprocess(RAW).digest() == data.digest()
    assert data.subset([0]).digest() != data.subset([1]).digest()


def test_class_names_and_column_labels(tmp_path: Path) -> None:
    x = np.zeros((2, 3, 6, 8), np.float32)
    data = opened(tmp_path, RGB, x=x, y=np.array([[1], [0]], np.uint8), class_names=np.array(["cat", "dog"]))
    assert data.class_names == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0]
    assert data.labels.dtype == np.int64


def test_several_inputs_are_read_by_name(tmp_path: Path) -> None:
    inputs = (
        TensorSpec("ids", (None, 5), "int64"),
        TensorSpec("mask", (None, 5), "float32"),
        TensorSpec("k", (), "int64"),
    )
    ids = RNG.integers(0, 9, (3, 5), dtype=np.int32)
    data = opened(tmp_path, inputs, ids=ids, mask=np.ones((3, 5), np.float32), k=np.int64(16000))
    feeds = first(data, 2)
    assert (feeds["ids"].shape, feeds["ids"].dtype, feeds["k"].shape) == ((2, 5), np.int64, ())
    np.testing.assert_array_equal(feeds["ids"], ids[:2])


def test_stacked_whole_feeds_come_one_at_a_time(tmp_path: Path) -> None:
    inputs = (TensorSpec("x", (1, 4), "float32"), TensorSpec("state", (2, 1, 3), "float32"))
    x = RNG.normal(size=(5, 1, 4)).astype(np.float32)
    data = opened(tmp_path, inputs, x=x, state=np.zeros((5, 2, 1, 3), np.float32))
    batches = list(data.batches(64))
    assert len(batches) == len(data) == 5
    np.testing.assert_array_equal(batches[3].feeds["x"], x[3])
    assert batches[3].feeds["state"].shape == (2, 1, 3)


BAD: list[tuple[Any, dict[str, Any], Code, str]] = [
    (RGB, {"images": np.zeros(3)}, "data-mismatch", "'x' (it has images)"),
    (RGB, {"x": np.zeros((2, 3, 6), np.float32)}, "data-mismatch", "[2, 3, 6], but input 'image' takes [n, 3, 6, 8]"),
    (RGB, {"x": np.zeros((2, 6, 8, 3), np.float32)}, "data-mismatch", "[n, 3, 6, 8]"),
    (RGB, {"x": np.zeros((2, 6, 8, 4), np.uint8)}, "data-mismatch", "[6, 8, 4] per image"),
    (RGB, {"x": np.zeros((2, 6, 8), np.uint8)}, "data-mismatch", "[6, 8] per image"),
    (RGB, {"x": np.zeros((2, 7, 8, 3), np.uint8)}, "data-mismatch", "--resize 6,8"),
    (RGB, {"x": np.zeros((2, 3, 6, 8), np.int64)}, "data-mismatch", "int64"),
    (RGB, {"x": np.full((2, 3, 6, 8), np.nan)}, "bad-data", "NaN or infinity"),
    (RGB, {"x": np.zeros((0, 3, 6, 8), np.float32)}, "no-data", "data.npz"),
    (RGB, {"x": np.zeros((0, 6, 8, 3), np.uint8)}, "no-data", "data.npz"),
    (RGB, {"x": np.zeros((2, 3, 6, 8), np.float32), "y": np.array([0, 2])}, "bad-labels", "label 2"),
    (RGB, {"x": np.zeros((2, 3, 6, 8), np.float32), "y": np.array([0, -1])}, "bad-labels", "label -1"),
    (RGB, {"x": np.zeros((2, 3, 6, 8), np.float32), "y": np.array([0.0, 1.0])}, "bad-labels", "float64"),
    (RGB, {"x": np.zeros((2, 3, 6, 8), np.float32), "y": np.array([0])}, "bad-labels", "shape [2]"),
    (RGB, {"x": np.zeros((2, 3, 6, 8), np.float32), "class_names": np.array([1, 2])}, "bad-labels", "'class_names'"),
    ((TensorSpec("x", (None, 40, 80), "float32"),), {"x": np.zeros((2, 40, 80), np.uint8)}, "data-mismatch", "'x'"),
    ((TensorSpec("i", (None, 2), "int8"),), {"x": np.full((1, 2), 300)}, "data-mismatch", "int8"),
    (
        (*RGB, TensorSpec("b", (None, 2), "float32")),
        {"image": np.zeros((2, 3, 6, 8), np.float32)},
        "data-mismatch",
        "array 'b'",
    ),
    (
        (TensorSpec("a", (None, 2), "float32"), TensorSpec("b", (None, 2), "float32")),
        {"a": np.zeros((2, 2)), "b": np.zeros((3, 2))},
        "bad-data",
        "data.npz",
    ),
]


@pytest.mark.parametrize(("inputs", "arrays", "code", "thing"), BAD)
def test_faults_are_one_sentence(tmp_path: Path, inputs: Any, arrays: dict[str, Any], code: Code, thing: str) -> None:
    with refused(code, thing) as caught:
        opened(tmp_path, inputs, classes=2, **arrays)
    assert "\n" not in str(caught.value)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with refused("bad-data", "objects.npz", "Python objects"):
        open_data(path, RGB, RAW)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x80\x04text"])
def test_files_that_are_no_npz_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with refused("unreadable-file", ".npz"):
        open_data(path, RGB, RAW)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_a_single_array_is_x(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"array.{ending}"
    shape = [5, *(size for size in RGB[0].shape[1:] if size is not None)]
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with path.open("wb") as file:
        np.save(file, values)
    (batch,) = open_data(str(path), RGB, RAW).batches(8)
    np.testing.assert_array_equal(batch.feeds[RGB[0].name], values)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with refused("data-mismatch", "'image'", "[3]"):
        open_data(path, RGB, RAW)


def test_names_of_inputs_come_before_labels(tmp_path: Path) -> None:
    """As in a siamese net of inputs x and y, or one that is given the class to draw."""
    pair = (TensorSpec("x", (None, 3), "float32"), TensorSpec("y", (None,), "int64"))
    x, y = RNG.normal(size=(4, 3)).astype(np.float32), np.array([5, 6, 7, 8])
    data = opened(tmp_path, pair, classes=2, x=x, y=y)
    assert data.labels is None
    np.testing.assert_array_equal(first(data)["y"], y)
    data = opened(tmp_path, pair, classes=2, x=x, y=y, labels=np.array([0, 1, 1, 0]))
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 1, 0]
    with refused("bad-labels", "'labels'", "holds the label 2"):
        opened(tmp_path, pair, classes=2, x=x, y=y, labels=np.array([0, 1, 2, 0]))
    three = (*pair, TensorSpec("labels", (None,), "int64"))
    data = opened(tmp_path, three, x=x, y=y, labels=y, targets=y % 2)
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 1, 0]
