"""Trained nets with their images as the benchmark of methods takes them: ready to be fed, in a cache folder."""

import io
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from onnxprune import load, open_data
from onnxprune.values.preprocess import Preprocess

Array = NDArray[Any]

POOL, EACH = 200, 50
"""Training images of each class that are kept, and how many of them a draw has."""

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
PIXELS = Preprocess(mean=tuple(MEAN), std=tuple(DEVIATION))
"""How the CIFAR-10 nets want their pixels."""

LITE = "imagenet_lite0"
LITE_PIXELS = Preprocess(mean=(0.498,), std=(0.502,))
"""How the ImageNet net wants its pixels."""

SUPER_CLASSES = {
    "birds and fish": ((0, 24), (80, 100), (127, 146), (389, 397)),
    "reptiles and invertebrates": ((25, 79), (107, 126), (300, 329)),
    "dogs": ((151, 268),),
    "other mammals": ((101, 106), (147, 150), (269, 299), (330, 388)),
    "things": ((398, 923),),
    "food, nature and people": ((924, 999),),
}
"""ImageNet's classes, first to last, by what they are of: with one image of a class these are what scores can go by."""

EACH_SUPER = 40
"""Images of a super-class that a draw has, as far as there are so many."""

DIGITS = "digits_convnet"
FASHION_SEED, EPOCHS = 0, 2


@dataclass(frozen=True)
class Net:
    """A model, images to draw calibration images from, `each` of every class, and its test images.

    The classes of the calibration images may be super-classes; `group` of the test images is the super-class then.
    """

    name: str
    model: Path
    folder: Path
    each: int = EACH

    @property
    def calibration(self) -> Path:
        """The first training images of every class."""
        return self.folder / "calibration.npz"

    @property
    def test(self) -> Path:
        """All test images."""
        return self.folder / "test.npz"


def open_net(name: str, shared: Path, cache: Path) -> Net | None:
    """Return a net, made ready where it is asked for the first time, or None where its files are not there.

    Raises:
        SystemExit: the net is to be trained, and torch is not there to do it.
    """
    if name == DIGITS:
        return _digits(cache / "digits")
    if name == "fashion_convnet":
        return _fashion(shared / "data" / "fashion_mnist.npz", cache / "fashion")
    if name == LITE:
        return _lite(shared / "models" / f"{LITE}.onnx", cache)
    images, model = shared / "data" / "cifar10_jpeg.zip", shared / "models" / f"{name}.onnx"
    if not (images.exists() and model.exists()):
        return None
    folder = cache / "cifar10"
    _once(folder / "test.npz", lambda: _write(folder, *_cifar(images)))
    return Net(name, model, folder)


def _once(path: Path, make: Callable[[], None]) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make()


def _write(folder: Path, train: tuple[Array, Array], test: tuple[Array, Array], names: list[str]) -> None:
    """Write the images to draw from, then the test set."""
    rows = np.concatenate([np.flatnonzero(train[1] == label)[:POOL] for label in range(len(names))])
    np.savez(folder / "calibration.npz", x=train[0][rows], y=train[1][rows], class_names=names)
    np.savez(folder / "test.npz", x=test[0], y=test[1], class_names=names)


def cifar_pixels(path: Path, cache: Path) -> tuple[tuple[Array, Array], tuple[Array, Array], list[str]]:
    """Return all training and all test images of CIFAR-10 as pixels [n, 32, 32, 3] with labels, and the classes.

    They are decoded once, into `cache`.
    """
    stored = cache / "cifar10-pixels.npz"
    if not stored.exists():
        train, test, names = _decoded(path, None)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(stored, x=train[0], y=train[1], test_x=test[0], test_y=test[1], class_names=names)
    with np.load(stored) as data:
        names = [str(name) for name in data["class_names"]]
        return (data["x"], data["y"]), (data["test_x"], data["test_y"]), names


def first_of_each(images: tuple[Array, Array], count: int) -> tuple[Array, Array]:
    """Return the first images of every class with their labels, `count` in all."""
    x, y = images
    classes = np.unique(y)
    rows = np.concatenate([np.flatnonzero(y == label)[: count // len(classes)] for label in classes])
    return x[rows], y[rows]


def write_sets(path: Path, cache: Path, calibration: int, training: int) -> dict[str, tuple[Array, Array]]:
    """Write calibration.npz, train.npz and test.npz of CIFAR-10's pixels into `cache`, and return them.

    Args:
        path: the archive of images.
        cache: the folder.
        calibration: images of each class.
        training: images in all.
    """
    train, test, names = cifar_pixels(path, cache)
    sets = {
        "calibration": first_of_each(train, calibration * len(names)),
        "train": first_of_each(train, training),
        "test": test,
    }
    for name, (x, y) in sets.items():
        mine = cache / f"{name}.{os.getpid()}.npz"  # whoever runs beside this one reads whole files
        np.savez(mine, x=x, y=y, class_names=np.array(names))
        mine.replace(cache / f"{name}.npz")
    return sets


def _cifar(path: Path) -> tuple[tuple[Array, Array], tuple[Array, Array], list[str]]:
    """Read the first images of every class of the training images, and all test images, normalised."""
    train, test, names = _decoded(path, POOL)
    return (_normal(train[0]), train[1]), (_normal(test[0]), test[1]), names


def _normal(pixels: Array) -> Array:
    return np.asarray(((pixels / 255 - MEAN) / DEVIATION).astype(np.float32).transpose(0, 3, 1, 2))


def _decoded(path: Path, most: int | None) -> tuple[tuple[Array, Array], tuple[Array, Array], list[str]]:
    """Decode at most so many training images of every class, and all test images."""
    with zipfile.ZipFile(path) as archive:
        files = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        names = sorted({name.split("/")[2] for name in files})
        splits = []
        for split, limit in (("train", most), ("test", None)):
            chosen = [
                (archive.read(name), label)
                for label, kind in enumerate(names)
                for name in [name for name in files if name.split("/")[1:3] == [split, kind]][:limit]
            ]
            pixels = np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data, _ in chosen])
            splits.append((pixels, np.asarray([label for _, label in chosen])))
    return splits[0], splits[1], names


def _digits(folder: Path) -> Net | None:
    models = Path(__file__).parents[1] / "sample_models"
    if not models.exists():
        return None

    def images(split: str) -> tuple[Array, Array]:
        files = sorted((models / split).glob("*/*.png"))
        pixels = np.stack([np.asarray(Image.open(file).convert("L"), dtype=np.float32) for file in files])
        return pixels[:, None] / 255, np.array([int(file.parent.name) for file in files])

    names = [str(number) for number in range(10)]
    _once(folder / "test.npz", lambda: _write(folder, images("calib"), images("test"), names))
    return Net(DIGITS, models / f"{DIGITS}.onnx", folder, each=20)


def _lite(model: Path, cache: Path) -> Net | None:
    """Return the ImageNet net with the images that `benchmarks.recovery` takes, one of a class, by super-class."""
    pixels, folder = cache / "imagenet", cache / "imagenet-super"
    if not (model.exists() and (pixels / "calib.npz").exists() and (pixels / "test.npz").exists()):
        return None
    groups = np.zeros(1000, dtype=np.int64)
    for number, ranges in enumerate(SUPER_CLASSES.values()):
        for first, last in ranges:
            groups[first : last + 1] = number

    def make() -> None:
        names = list(SUPER_CLASSES)
        for split, target in (("calib", "calibration"), ("test", "test")):
            images = open_data(pixels / f"{split}.npz", load(model).graph.input_specs, LITE_PIXELS)
            x = np.concatenate([next(iter(batch.feeds.values())) for batch in images.batches(50)])
            y = np.asarray(images.labels)
            labels = {"y": groups[y]} if target == "calibration" else {"y": y, "group": groups[y]}
            np.savez(folder / f"{target}.npz", x=x, class_names=names, **labels)

    _once(folder / "test.npz", make)
    return Net(LITE, model, folder, each=EACH_SUPER)


def _fashion(path: Path, folder: Path) -> Net | None:
    if not path.exists():
        return None
    with np.load(path) as data:
        names = [str(name) for name in data["class_names"]]
        train, test = (
            (data[f"x_{split}"][:, None].astype(np.float32) / 255, data[f"y_{split}"].astype(np.int64))
            for split in ("train", "test")
        )
    _once(folder / "test.npz", lambda: _write(folder, train, test, names))
    model = folder / "fashion_convnet.onnx"
    _once(model, lambda: _train(*train, model))
    return Net("fashion_convnet", model, folder)


def _train(x: Array, y: Array, path: Path) -> None:
    """Train four convolutions and a hidden layer, and write them as ONNX."""
    try:
        torch: Any = import_module("torch")
    except ImportError:
        advice = "pip install 'onnxprune[torch]'"
        raise SystemExit(f"fashion_convnet is trained with torch, which is missing: {advice}.") from None
    nn = torch.nn
    torch.manual_seed(FASHION_SEED)
    layers: list[Any] = []
    for inputs, outputs, pool in ((1, 24, 1), (24, 48, 0), (48, 48, 1), (48, 96, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), *([nn.MaxPool2d(2)] if pool else [])]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 9, 128), nn.ReLU(), nn.Linear(128, 10))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(128):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimiser.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter announces its successor
        axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
        buffer = io.BytesIO()
        torch.onnx.export(
            net.eval(), (images[:1],), buffer, dynamo=False, opset_version=17, dynamic_axes=axes,
            input_names=["image"], output_names=["logits"],
        )  # fmt: skip
    onnx.save(onnx.load_from_string(buffer.getvalue()), path)
