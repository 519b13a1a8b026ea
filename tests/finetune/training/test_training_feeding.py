"""What training is fed: the pixels that the runtime would be fed, every sample once an epoch, alike for all."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from onnxprune.data import open_data
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import PRESETS, Preprocess

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from onnxprune.finetune.training import feeding  # noqa: E402
from onnxprune.finetune.training.augment import Augment, Share, check_kinds  # noqa: E402
from onnxprune.finetune.training.feeding import decoded, in_order, shuffled  # noqa: E402


def images(folder: Path, count: int = 7, channels: int = 3) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"c{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        shape = (10, 12, 3) if channels == 3 else (10, 12)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(place / f"{number}.png")
    return folder


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((None, 3, 8, 8), "float32"), ((None, 8, 8, 3), "float32"), ((None, 1, 8, 8), "float32"), ((2, 3, 8, 8), "uint8")],
)
def test_images_are_scaled_as_for_the_runtime(
    tmp_path: Path, preset: str, order: str, shape: tuple[int | None, ...], dtype: str
) -> None:
    spec = TensorSpec("x", shape, dtype)
    preprocess = Preprocess(resize=(8, 8), channel_order=order).with_preset(preset)  # type: ignore[arg-type]
    data = open_data(images(tmp_path), [spec], preprocess)
    found = decoded(data)
    rows = np.array([5, 0, 3])
    arrays, labels = found.batch(rows, torch.device("cpu"))
    (fed,) = found.feeds(arrays, ["x"])
    expected = data.reader.feeds(data.rows[rows])["x"]
    assert fed.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(fed.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert data.labels is not None
    assert labels is not None
    assert labels.tolist() == data.labels[rows].tolist()


def test_large_data_are_mapped_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_data(images(tmp_path), [TensorSpec("x", (None, 3, 10, 12), "float32")], Preprocess())
    small = decoded(data)
    monkeypatch.setattr(feeding, "IN_MEMORY", 100)
    monkeypatch.setattr(feeding, "BLOCK", 3)
    mapped = decoded(data)
    assert isinstance(mapped.arrays["pixels"], np.memmap)
    np.testing.assert_array_equal(mapped.arrays["pixels"], small.arrays["pixels"])


def test_arrays_are_fed_as_they_are(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(5) % 2)
    found = decoded(open_data(tmp_path / "d.npz", [TensorSpec("in", (None, 4), "float32")], Preprocess()))
    arrays, _ = found.batch(np.array([4, 1]), torch.device("cpu"))
    np.testing.assert_array_equal(found.feeds(arrays, ["in"])[0].numpy(), x[[4, 1]])


def test_whole_calls_are_refused(tmp_path: Path) -> None:
    x, state = np.zeros((3, 1, 4), np.float32), np.zeros((3, 2, 4), np.float32)
    np.savez(tmp_path / "d.npz", a=x, b=state)
    specs = [TensorSpec("a", (1, 4), "float32"), TensorSpec("b", (2, 4), "float32")]
    with refused("data-mismatch", "d.npz"):
        decoded(open_data(tmp_path / "d.npz", specs, Preprocess()))


@pytest.mark.parametrize(("total", "batch"), [(10, 4), (12, 4), (3, 128), (129, 128)])
def test_an_epoch_has_every_sample_once_in_batches_of_like_size(total: int, batch: int) -> None:
    first, again, other = (shuffled(total, batch, seed=1, epoch=epoch) for epoch in (1, 1, 2))
    assert sorted(np.concatenate(first).tolist()) == list(range(total))
    assert max(map(len, first)) <= batch
    assert max(map(len, first)) - min(map(len, first)) <= 1
    assert [rows.tolist() for rows in first] == [rows.tolist() for rows in again]
    assert total < 4 or [rows.tolist() for rows in first] != [rows.tolist() for rows in other]
    assert np.concatenate(in_order(total, batch)).tolist() == list(range(total))


def test_crops_are_shifts_with_black_edges_and_flips_are_mirror_images() -> None:
    pixels = torch.arange(1, 65, dtype=torch.float32).reshape(1, 1, 8, 8).repeat(64, 1, 1, 1)
    cropped = Augment(("crop",), 3, Share(0, 64, 64))(pixels)
    padded = torch.nn.functional.pad(pixels[0, 0], (1, 1, 1, 1))
    shifts = {(dy, dx): padded[dy : dy + 8, dx : dx + 8] for dy in range(3) for dx in range(3)}
    seen = [next(key for key, value in shifts.items() if torch.equal(value, image[0])) for image in cropped]
    assert len(set(seen)) == 9, "every shift by up to an eighth of the side occurs"
    flipped = Augment(("flip",), 3, Share(0, 64, 64))(pixels)
    mirrored = [torch.equal(image, pixels[0].flip(2)) for image in flipped]
    assert all(one or torch.equal(image, pixels[0]) for one, image in zip(mirrored, flipped, strict=True))
    assert 16 < sum(mirrored) < 48


@pytest.mark.parametrize("size", [5, 4, 9])
def test_shares_of_a_batch_are_changed_as_the_whole_batch_is(size: int) -> None:
    pixels = torch.rand(size, 3, 16, 16)
    whole = Augment(("crop", "flip"), 11, Share(0, size, size))(pixels)
    parts = [
        Augment(("crop", "flip"), 11, Share(start, stop, size))(pixels[start:stop])
        for start, stop in ((0, size // 2), (size // 2, size))
    ]
    np.testing.assert_array_equal(torch.cat(parts).numpy(), whole.numpy())
    other = Augment(("crop", "flip"), 12, Share(0, size, size))(pixels)
    assert not torch.equal(whole, other)


def test_unknown_augmentations_are_named() -> None:
    with refused("unknown-name", "'mixup'"):
        check_kinds(["crop", "mixup"])
