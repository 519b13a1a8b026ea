"""Image folders: classes, labels files, decoding, damage, sizes, cache, digest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from onnxprune.data import open_data
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import Preprocess

RGB = (TensorSpec("image", (None, 3, 6, 8), "float32"),)
GREY = (TensorSpec("image", (None, 1, 6, 8), "float32"),)
ANY = (TensorSpec("image", (None, 3, None, None), "float32"),)
RAW = Preprocess(scale=1.0)


def paint(path: Path, value: int, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


def classes_of(root: Path, names: str, each: int = 2) -> Path:
    for place, name in enumerate(names):
        for number in range(each):
            paint(root / name / f"{number}.png", place * 10 + number)
    return root


def values(root: Path, **options: int) -> list[int]:
    data = open_data(root, RGB, RAW, **options)  # type: ignore[arg-type]
    return [int(batch.feeds["image"][i, 0, 0, 0]) for batch in data.batches(3) for i in range(len(batch))]


def test_class_folders_are_labelled_in_sorted_order(tmp_path: Path) -> None:
    data = open_data(classes_of(tmp_path, "ba"), RGB, RAW, classes=2)
    assert data.class_names == ("a", "b")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert values(tmp_path) == [10, 11, 0, 1]


def test_labels_file_sets_the_order_and_may_name_absent_classes(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("b\nmissing\na\n")
    data = open_data(classes_of(tmp_path / "data", "ab"), RGB, RAW, labels_file=names, classes=3)
    assert data.class_names == ("b", "missing", "a")
    assert data.labels is not None
    assert data.labels.tolist() == [2, 2, 0, 0]


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        ("a\nc\n", "b'"),
        ("a\n\nb\n", "Line 2"),
        ("a\na\n", "'a'"),
        ("", "names.txt"),
        ("a\nb\nc\nd\n", "4 classes but the model has 3"),
    ],
)
def test_faults_of_the_labels_file_are_named(tmp_path: Path, text: str, thing: str) -> None:
    names = tmp_path / "names.txt"
    names.write_text(text)
    with refused("bad-labels", thing):
        open_data(classes_of(tmp_path / "data", "ab"), RGB, RAW, labels_file=names, classes=3)


def test_other_number_of_folders_than_classes_asks_for_a_labels_file(tmp_path: Path) -> None:
    with refused("bad-labels", "2 class folders", "10 classes", "--labels FILE"):
        open_data(classes_of(tmp_path, "ab"), RGB, RAW, classes=10)


def test_flat_folder_is_unlabelled_and_endings_ignore_case(tmp_path: Path) -> None:
    for number, ending in enumerate(("PNG", "jpg", "JPeG", "bmp", "webp")):
        paint(tmp_path / f"{number}.{ending}", 100)
    (tmp_path / "notes.txt").write_text("no image")
    data = open_data(tmp_path, RGB, RAW)
    assert len(data) == 5
    assert data.labels is None
    feeds = next(data.batches(5)).feeds["image"]
    assert feeds.shape == (5, 3, 6, 8)
    np.testing.assert_allclose(feeds, 100, rtol=0, atol=2)


def test_deep_files_count_and_hidden_ones_do_not(tmp_path: Path) -> None:
    paint(tmp_path / "a" / "deep" / "0.png", 1)
    paint(tmp_path / "b" / "0.png", 2)
    paint(tmp_path / "b" / "._0.png", 3)
    paint(tmp_path / ".cache" / "0.png", 4)
    paint(tmp_path / "__MACOSX" / "0.png", 5)
    assert values(tmp_path) == [1, 2]


def test_grey_model_and_exif_orientation(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(np.arange(6, dtype=np.uint8)[None, :, None] * 40, 8, axis=0).repeat(3, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    image.save(tmp_path / "turned.png", exif=exif)
    (batch,) = open_data(tmp_path, GREY, RAW).batches(1)
    assert batch.feeds["image"].shape == (1, 1, 6, 8)
    np.testing.assert_array_equal(batch.feeds["image"][0, 0, :, 0], np.arange(6) * 40)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((6, 8), 128 << 8, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert values(tmp_path) == [128]


def test_transparent_palette_image_is_read_without_warning(tmp_path: Path) -> None:
    image = Image.new("P", (8, 6), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.save(tmp_path / "palette.png", transparency=b"\x00\x80")
    assert values(tmp_path) == [9]


def test_resize_of_shorter_side_then_centre_crop(tmp_path: Path) -> None:
    paint(tmp_path / "wide.png", 7, size=(40, 20))
    data = open_data(tmp_path, RGB, Preprocess(scale=1.0, resize=10, crop=(6, 8)))
    assert next(data.batches(1)).feeds["image"].shape == (1, 3, 6, 8)


def test_crop_takes_the_centre(tmp_path: Path) -> None:
    stripes = np.zeros((6, 12, 3), dtype=np.uint8) + np.arange(12, dtype=np.uint8)[None, :, None]
    Image.fromarray(stripes).save(tmp_path / "a.png")
    (batch,) = open_data(tmp_path, RGB, Preprocess(scale=1.0, crop=(6, 8))).batches(1)
    np.testing.assert_array_equal(batch.feeds["image"][0, 0, 0], np.arange(2, 10))


def test_crop_larger_than_the_image_is_refused(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 0)
    with refused("data-mismatch", "6 x 8", "--crop 9,9"):
        open_data(tmp_path, RGB, Preprocess(crop=9))


def test_wrong_size_says_both_sizes_and_the_option(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 0, size=(10, 7))
    with refused("data-mismatch", "a.png", "7 x 10", "--resize 6,8"):
        open_data(tmp_path, RGB, RAW)


def test_mixed_sizes_of_a_free_model_are_refused(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 0)
    paint(tmp_path / "b.png", 0, size=(9, 6))
    with refused("data-mismatch", "b.png", "6 x 9", "'a.png'", "--resize"):
        open_data(tmp_path, ANY, RAW)


def test_few_damaged_files_are_skipped_and_named(tmp_path: Path) -> None:
    classes_of(tmp_path, "ab", each=10)
    whole = (tmp_path / "a" / "3.png").read_bytes()
    (tmp_path / "a" / "3.png").write_bytes(whole[: len(whole) // 2])
    data = open_data(tmp_path, RGB, RAW)
    assert data.skipped == ("a/3.png",)
    assert len(data) == 19
    assert data.labels is not None
    assert data.labels.tolist() == [0] * 9 + [1] * 10
    for cache_bytes in (0, 10**6):
        assert values(tmp_path, cache_bytes=cache_bytes) == [0, 1, 2, *range(4, 20)]


def test_what_is_done_to_channels_is_counted(tmp_path: Path) -> None:
    """Grey images stored as RGB are grey, and alpha that is opaque all over loses nothing."""
    paint(tmp_path / "a" / "rgb.png", 9)
    paint(tmp_path / "b" / "rgb.png", 7)
    Image.new("L", (8, 6), 5).save(tmp_path / "a" / "grey.png")
    Image.new("I;16", (8, 6), 500).save(tmp_path / "b" / "deep.png")
    Image.new("RGB", (8, 6), (1, 2, 3)).save(tmp_path / "a" / "colour.png")
    Image.new("RGBA", (8, 6), (1, 2, 3, 255)).save(tmp_path / "b" / "opaque.png")
    Image.new("RGBA", (8, 6), (1, 2, 3, 50)).save(tmp_path / "b" / "clear.png")
    assert open_data(tmp_path, RGB, RAW).converted == {"grey to colour": 2, "transparency dropped": 1}
    grey = open_data(tmp_path, GREY, RAW)
    assert grey.converted == {"colour to grey": 2, "transparency dropped": 1}
    assert grey.subset([0]).converted == grey.converted


def test_many_damaged_files_stop_the_run(tmp_path: Path) -> None:
    classes_of(tmp_path, "ab", each=10)
    (tmp_path / "a" / "3.png").write_bytes(b"")
    (tmp_path / "b" / "0.png").write_text("text")
    with refused("bad-data", "2 of the 20", "'a/3.png'"):
        open_data(tmp_path, RGB, RAW)


def test_paths_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with refused("missing-file", "nowhere"):
        open_data(tmp_path / "nowhere", RGB, RAW)
    with refused("no-data", str(tmp_path)):
        open_data(tmp_path, RGB, RAW)
    (tmp_path / "x.txt").write_text("")
    with refused("unreadable-file", "x.txt"):
        open_data(tmp_path / "x.txt", RGB, RAW)
    (tmp_path / "empty").mkdir()
    paint(tmp_path / "full" / "0.png", 0)
    with refused("no-data", "empty"):
        open_data(tmp_path, RGB, RAW)
    paint(tmp_path / "loose.png", 0)
    with refused("bad-data", "loose.png", "'empty'"):
        open_data(tmp_path, RGB, RAW)


@pytest.mark.parametrize("cache_bytes", [0, 6 * 8 * 3 * 3, 10**6])
def test_batches_do_not_depend_on_the_cache(tmp_path: Path, cache_bytes: int) -> None:
    classes_of(tmp_path, "ab", each=4)
    assert values(tmp_path, cache_bytes=cache_bytes) == [0, 1, 2, 3, 10, 11, 12, 13]
    reader = open_data(tmp_path, RGB, RAW, cache_bytes=cache_bytes).reader
    assert reader.cache.nbytes <= cache_bytes  # type: ignore[attr-defined]


def test_file_that_vanishes_in_use_is_an_input_error(tmp_path: Path) -> None:
    path = paint(tmp_path / "a.png", 0)
    data = open_data(tmp_path, RGB, RAW, cache_bytes=0)
    path.unlink()
    with refused("bad-data", "changed"):
        next(data.batches(1))


def test_subset_and_batches_keep_labels_and_positions(tmp_path: Path) -> None:
    data = open_data(classes_of(tmp_path, "ab", each=3), RGB, RAW).subset([5, 0, 2])
    batches = list(data.batches(2))
    assert [len(batch) for batch in batches] == [2, 1]
    assert batches[0].labels is not None
    assert batches[0].labels.tolist() == [1, 0]
    assert batches[1].labels is not None
    assert batches[1].labels.tolist() == [0]
    assert batches[1].indices.tolist() == [2]
    assert batches[0].feeds["image"][:, 0, 0, 0].tolist() == [12, 0]
    with refused("bad-value", "batch size", "0"):
        next(data.batches(0))


def test_other_preprocessing_of_opened_data(tmp_path: Path) -> None:
    data = open_data(classes_of(tmp_path, "ab", each=3), RGB, RAW)
    doubled = data.with_preprocess(Preprocess(scale=2.0)).subset([3])
    assert next(doubled.batches(1)).feeds["image"][0, 0, 0, 0] == 20
    free = open_data(tmp_path, ANY, RAW).with_preprocess(Preprocess(scale=1.0, resize=(3, 4)))
    assert next(free.batches(2)).feeds["image"].shape == (2, 3, 3, 4)


def test_digest_is_stable_and_sees_every_change(tmp_path: Path) -> None:
    first = open_data(classes_of(tmp_path / "one", "ab"), RGB, RAW)
    copy = open_data(classes_of(tmp_path / "two", "ab"), RGB, RAW)
    assert first.digest() == copy.digest()
    changed = {
        first.digest(),
        first.subset([0, 1]).digest(),
        first.subset([1, 0, 2, 3]).digest(),
        first.with_preprocess(Preprocess(scale=2.0)).digest(),
    }
    paint(tmp_path / "two" / "b" / "1.png", 99)
    changed.add(open_data(tmp_path / "two", RGB, RAW).digest())
    (tmp_path / "two" / "b" / "1.png").rename(tmp_path / "two" / "b" / "2.png")
    changed.add(open_data(tmp_path / "two", RGB, RAW).digest())
    assert len(changed) == 6


def test_limit_opens_an_even_share_of_each_class(tmp_path: Path) -> None:
    data = open_data(classes_of(tmp_path, "abc", each=5), RGB, RAW, limit=6, seed=1)
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [2, 2, 2]
