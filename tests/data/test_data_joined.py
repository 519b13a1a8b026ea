"""Two data sets as one, in any order of rows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxprune.data import Dataset, open_data
from onnxprune.data.joined import joined
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import Preprocess

ROW = (TensorSpec("x", (None, 1), "float32"),)
RGB = (TensorSpec("image", (None, 3, 6, 8), "float32"),)


def numbers(path: Path, first: int, count: int) -> Dataset:
    np.savez(path, x=np.arange(first, first + count, dtype=np.float32)[:, None], y=np.arange(count) % 2)
    return open_data(path, ROW, Preprocess())


def fed(data: Dataset, size: int) -> list[float]:
    return [float(value) for batch in data.batches(size) for value in batch.feeds["x"][:, 0]]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_samples_come_in_the_order_of_the_rows(tmp_path: Path, size: int) -> None:
    both = joined(
        numbers(tmp_path / "a.npz", 0, 5).subset([4, 0, 2]), numbers(tmp_path / "b.npz", 100, 4).subset([1, 3])
    )
    assert (len(both), both.labels) == (5, None)
    assert fed(both, size) == [4, 0, 2, 101, 103]
    assert fed(both.subset([4, 0, 3, 3, 1]), size) == [103, 4, 101, 101, 0]
    assert fed(both.subset([3, 4]), size) == [101, 103]


def test_contents_and_digest_are_of_both(tmp_path: Path) -> None:
    one, two = numbers(tmp_path / "a.npz", 0, 5), numbers(tmp_path / "b.npz", 100, 4)
    assert joined(one, two).digest() == joined(one, two).digest() != joined(two, one).digest()
    assert len({joined(one, two.subset([0])).digest(), joined(one, two.subset([1])).digest()}) == 2


def test_pixels_of_both_are_scaled_anew(tmp_path: Path) -> None:
    parts = []
    for name, level in (("a", 10), ("b", 20)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 6), (level, level, level)).save(tmp_path / name / "0.png")
        parts.append(open_data(tmp_path / name, RGB, Preprocess(scale=1.0)))
    both = joined(*parts)
    assert not both.preprocessed
    halved = both.with_preprocess(Preprocess(scale=0.5))
    assert halved.preprocess.scale == 0.5
    found = [float(image[0, 0, 0]) for batch in halved.batches(2) for image in batch.feeds["image"]]
    assert found == [5.0, 10.0]
    pixels = both.reader.decoded(both.rows)
    assert pixels is not None
    assert len(pixels) == 2
    assert both.reader.target is not None
