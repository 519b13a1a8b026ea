"""Some of the classes: their samples alone, numbered in the order of the model's outputs, and every refusal."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from onnxprune.data import Dataset, open_data
from onnxprune.errors import Code
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import Preprocess

RGB = (TensorSpec("image", (None, 3, 6, 8), "float32"),)
ROW = (TensorSpec("x", (None, 1), "float32"),)
RAW = Preprocess(scale=1.0)


def folders(root: Path, names: str = "abcd", each: int = 2) -> Path:
    """Write `each` images a class, of the grey level 10 * class + number."""
    for place, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(each):
            level = place * 10 + number
            Image.new("RGB", (8, 6), (level, level, level)).save(root / name / f"{number}.png")
    return root


def arrays(folder: Path, labels: Sequence[int], names: Sequence[str] = ()) -> Path:
    path = folder / "d.npz"
    more = {"class_names": np.array(names)} if names else {}
    np.savez(path, x=np.arange(len(labels), dtype=np.float32)[:, None], y=np.array(labels), **more)  # type: ignore[arg-type]
    return path


def levels(data: Dataset) -> list[int]:
    return [int(image[0, 0, 0]) for batch in data.batches(3) for image in batch.feeds["image"]]


def test_folders_of_the_chosen_classes_in_the_order_of_the_outputs(tmp_path: Path) -> None:
    data = open_data(folders(tmp_path), RGB, RAW, classes=4, only=["d", "b"])
    assert levels(data) == [10, 11, 30, 31]
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert (data.class_names, data.outputs) == (("b", "d"), (1, 3))
    assert data.source == f"4 images under '{tmp_path}'"
    assert data.subset([3]).outputs == (1, 3)


def test_all_classes_know_no_outputs(tmp_path: Path) -> None:
    assert open_data(folders(tmp_path), RGB, RAW).outputs is None


def test_the_labels_file_says_which_output_a_class_is(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("d\nx\na\nb\n")
    data = open_data(folders(tmp_path / "data"), RGB, RAW, labels_file=names, classes=4, only=["b", "d"])
    assert (data.class_names, data.outputs, levels(data)) == (("d", "b"), (0, 3), [10, 11, 30, 31])
    assert data.labels is not None
    assert data.labels.tolist() == [1, 1, 0, 0]


def test_a_folder_that_is_not_asked_for_need_not_be_in_the_labels_file(tmp_path: Path) -> None:
    """So a model that was cut to some classes can be measured on the whole data."""
    names = tmp_path / "names.txt"
    names.write_text("b\nd\n")
    root = folders(tmp_path / "data")
    data = open_data(root, RGB, RAW, labels_file=names, classes=2, only=["b", "d"])
    assert (data.outputs, levels(data)) == ((0, 1), [10, 11, 30, 31])
    with refused("bad-labels", "a'", "--labels"):
        open_data(root, RGB, RAW, labels_file=names, classes=2, only=["a", "d"])
    with refused("bad-labels", "--labels"):
        open_data(root, RGB, RAW, labels_file=names, classes=2)


def test_a_limit_counts_the_chosen_samples_alone(tmp_path: Path) -> None:
    data = open_data(folders(tmp_path, each=3), RGB, RAW, only=["a", "c"], limit=4)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1]


def test_rows_of_arrays_by_number_where_classes_have_no_names(tmp_path: Path) -> None:
    data = open_data(arrays(tmp_path, [3, 0, 1, 3, 2]), ROW, RAW, only=["3", "1"])
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 1]
    assert [float(v) for b in data.batches(2) for v in b.feeds["x"][:, 0]] == [0, 2, 3]
    assert (data.class_names, data.outputs) == (("1", "3"), (1, 3))
    assert data.source.startswith("3 samples of ")


def test_numbers_stand_for_named_classes_unless_names_are_numbers(tmp_path: Path) -> None:
    named = open_data(arrays(tmp_path, [0, 1, 2], ["cat", "dog", "cow"]), ROW, RAW, only=["2", "cat"])
    assert (named.class_names, named.outputs) == (("cat", "cow"), (0, 2))
    numeric = arrays(tmp_path, [0, 1, 2], ["10", "0", "5"])
    assert open_data(numeric, ROW, RAW, only=["0", "10"]).outputs == (0, 1)
    with refused("unknown-name", "'1'", "--classes"):
        open_data(numeric, ROW, RAW, only=["1", "10"])


@pytest.mark.parametrize(
    ("only", "code", "thing"),
    [
        (["b", "e"], "unknown-name", "'e' for --classes: its classes are a, b, c, d."),
        (["b", "4"], "unknown-name", "'4' for --classes"),
        (["b", "c", "b"], "bad-value", "'b' twice"),
        (["b", "1"], "bad-value", "'1' twice"),
        (["b"], "bad-value", "only 'b'"),
    ],
)
def test_refusals(tmp_path: Path, only: list[str], code: Code, thing: str) -> None:
    with refused(code, thing):
        open_data(folders(tmp_path), RGB, RAW, only=only)


def test_a_mistyped_name_is_guessed(tmp_path: Path) -> None:
    with refused("unknown-name", "'ship'", "--classes", "did you mean 'ships'?"):
        open_data(arrays(tmp_path, [0, 1], ["ships", "cars"]), ROW, RAW, only=["ship", "cars"])


def test_classes_without_labels_or_without_samples_are_refused(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    Image.new("RGB", (8, 6)).save(loose / "0.png")
    with refused("no-labels", "--classes", "loose'"):
        open_data(loose, RGB, RAW, only=["a", "b"])
    path = arrays(tmp_path, [0, 0, 2])
    with refused("too-few-samples", "'1'", "--classes"):
        open_data(path, ROW, RAW, classes=3, only=["0", "1"])


def test_arrays_of_more_classes_than_the_model_has_are_read_by_their_names(tmp_path: Path) -> None:
    """So a classifier that was trimmed to some of its classes takes the data of all."""
    path = arrays(tmp_path, [0, 1, 2, 3, 1], ["a", "b", "c", "d"])
    data = open_data(path, ROW, RAW, classes=2, names=("d", "b"))
    assert (data.class_names, data.rows.tolist()) == (("d", "b"), [1, 3, 4])
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 1]
    again = open_data(path, ROW, RAW, classes=2, names=("d", "b"), only=("d", "b"))
    assert (again.labels is not None, again.outputs) == (True, (0, 1))
    with refused("bad-labels", "label 4"):
        open_data(arrays(tmp_path, [0, 4], ["a", "b", "c", "d"]), ROW, RAW, classes=2, names=("d", "b"))
    with refused("no-data", "d, b"):
        open_data(arrays(tmp_path, [0, 2], ["a", "b", "c", "d"]), ROW, RAW, classes=2, names=("d", "b"))


def test_classes_of_equal_names_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    path = arrays(tmp_path, [0, 1, 2, 2], ["cat", "crane", "crane"])
    assert open_data(path, ROW, RAW).class_names == ("cat", "crane (1)", "crane (2)")
    assert open_data(path, ROW, RAW, only=("cat", "crane (2)")).outputs == (0, 2)
    with refused("unknown-name", "crane (2)"):
        open_data(path, ROW, RAW, only=("cat", "crane"))
