"""Opening whatever the user points at as a `Dataset`: a folder of images or an .npz file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.arrays import load_npz, open_arrays, open_pixels
from onnxprune.data.dataset import Dataset, Reader
from onnxprune.data.folder import list_folder, read_class_names
from onnxprune.data.image_files import CACHE_BYTES, open_files
from onnxprune.data.image_input import image_input
from onnxprune.data.split import choose
from onnxprune.data.subtask import choose_classes, of_classes
from onnxprune.errors import InputError
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import Preprocess

Labels = NDArray[np.int64]


def open_data(
    path: Path | str,
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess,
    *,
    labels_file: Path | str | None = None,
    names: Sequence[str] = (),
    classes: int | None = None,
    only: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    cache_bytes: int = CACHE_BYTES,
) -> Dataset:
    """Open sample data for a model.

    * A folder with one sub-folder per class: labelled; the class order is that of the sorted folder names or
      of the labels file.
    * A folder of images: unlabelled.
    * `.npz` with `x`, optionally `y` (integers) and `class_names`: uint8 `x` is pixels, other types are fed
      as they are; or with one array per model input. `.npy` is `x` alone.

    Args:
        path: The folder or file.
        inputs: The model's inputs.
        preprocess: What is done to pixels.
        labels_file: One class name per line, in the order of the model's outputs.
        names: The same names, where they are known without a file.
        classes: Number of the model's classes, to check the labels against; None skips the check.
        only: Names (or numbers) of the classes to open, see `choose_classes`; nothing opens all. They are numbered anew
            in the order of the model's outputs, which `Dataset.outputs` holds.
        limit: Open at most this many samples, chosen evenly over the classes; None opens all.
        seed: Of that choice.
        cache_bytes: Decoded images kept in memory.

    Raises:
        InputError: the data cannot be used with this model; the message says why and what to do.
    """
    path = Path(path)
    known = (tuple(names) or None) if labels_file is None else read_class_names(Path(labels_file))
    if known is not None and classes is not None and len(known) > classes:
        raise InputError(
            f"--labels '{labels_file}' names {len(known)} classes but the model has {classes}: "
            "give one line per model output"
        )
    if path.is_dir():
        return _open_folder(path, inputs, preprocess, known, classes, only, limit, seed, cache_bytes)
    if not path.exists():
        raise InputError(f"there is no file or folder '{path}': check the path")
    if path.suffix.lower() not in (".npz", ".npy"):
        raise InputError(f"'{path}' is neither a folder nor an .npz file: give a folder of images or an .npz")
    opened = _open_npz(path, inputs, preprocess, known, classes, only)
    if limit is None:
        return opened
    return opened.subset(choose(opened.labels, len(opened), limit, seed))


def _open_folder(
    folder: Path,
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess,
    names: tuple[str, ...] | None,
    classes: int | None,
    only: Sequence[str],
    limit: int | None,
    seed: int,
    cache_bytes: int,
) -> Dataset:
    spec = image_input(inputs, preprocess).spec
    listing = list_folder(folder, names, only)
    labels = listing.labels
    if labels is not None and names is None and classes is not None and len(listing.class_names) != classes:
        raise InputError(
            f"'{folder}' has {len(listing.class_names)} class folders but the model has {classes} classes: "
            f"pass --labels FILE with the {classes} class names, one per line, in the order of its outputs"
        )
    files = np.array(listing.files, dtype=object)
    numbers = choose_classes(only, listing.class_names, labels, classes, f"'{folder}'") if only else None
    if numbers is not None and labels is not None:
        wanted = np.isin(labels, numbers)
        files, labels = files[wanted], labels[wanted]
    if limit is not None:
        chosen = choose(labels, len(files), limit, seed)
        files, labels = files[chosen], None if labels is None else labels[chosen]
    reader, bad = open_files(folder, tuple(files), spec, preprocess, cache_bytes)
    good = [place for place in range(len(files)) if place not in bad]
    opened = Dataset(
        reader=reader,
        rows=np.arange(len(good), dtype=np.int64),
        labels=None if labels is None else labels[good],
        class_names=listing.class_names,
        skipped=tuple(str(files[place]) for place in bad),
        source=f"{len(good)} images under '{folder}'",
    )
    return opened if numbers is None else of_classes(opened, numbers)


def _open_npz(
    path: Path,
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess,
    names: tuple[str, ...] | None,
    classes: int | None,
    wanted: Sequence[str],
) -> Dataset:
    arrays = load_npz(path)
    by_input = _by_input(arrays, inputs, path)
    reader: Reader
    only = by_input[inputs[0].name]
    if len(inputs) == 1 and only.dtype == np.uint8 and _takes_pixels(inputs[0]):
        if only.ndim == 0 or not len(only):
            raise InputError(f"'{path}' holds no samples: store at least one along axis 0")
        reader, total = open_pixels(only, inputs[0], preprocess, f"'{path}'"), len(only)
    else:
        reader, total = open_arrays(by_input, inputs, preprocess, f"'{path}'")
        if not total:
            raise InputError(f"'{path}' holds no samples: store at least one along axis 0")
    labels = _labels(arrays["y"], total, path) if "y" in arrays else None
    names = names or _names(arrays, path)
    count = classes if classes is not None else len(names) or None
    if labels is not None and (labels.min() < 0 or (count is not None and labels.max() >= count)):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(
            f"'y' of '{path}' holds the label {wrong}, outside the classes 0 to "
            f"{'...' if count is None else count - 1}: number the classes like the model's outputs"
        )
    numbers = choose_classes(wanted, names, labels, classes, f"'{path}'") if wanted else None
    rows = np.arange(total, dtype=np.int64)
    if numbers is not None and labels is not None:
        rows = np.flatnonzero(np.isin(labels, numbers))
        labels = labels[rows]
    opened = Dataset(reader, rows, labels, names, skipped=(), source=f"{len(rows)} samples of '{path}'")
    return opened if numbers is None else of_classes(opened, numbers)


def _takes_pixels(spec: TensorSpec) -> bool:
    return spec.dtype.startswith("float") or (spec.dtype == "uint8" and len(spec.shape) == 4)


def _by_input(arrays: dict[str, NDArray[Any]], inputs: Sequence[TensorSpec], path: Path) -> dict[str, NDArray[Any]]:
    wanted = [spec.name for spec in inputs]
    if len(wanted) == 1 and wanted[0] not in arrays and "x" in arrays:
        return {wanted[0]: arrays["x"]}
    missing = [name for name in wanted if name not in arrays]
    if missing:
        what = "'x'" if len(wanted) == 1 else f"'{missing[0]}'"
        raise InputError(
            f"'{path}' has no array {what} (it has {', '.join(arrays) or 'none'}): store the samples "
            f"{'as x' if len(wanted) == 1 else 'under the names of the inputs, ' + ', '.join(wanted)}"
        )
    return {name: arrays[name] for name in wanted}


def _labels(y: NDArray[Any], total: int, path: Path) -> Labels:
    flat = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if flat.ndim != 1 or flat.dtype.kind not in "iu" or len(flat) != total:
        raise InputError(
            f"'y' of '{path}' has shape {list(y.shape)} and type {y.dtype}: store one integer class per "
            f"sample, shape [{total}]"
        )
    return flat.astype(np.int64)


def _names(arrays: dict[str, NDArray[Any]], path: Path) -> tuple[str, ...]:
    names = arrays.get("class_names")
    if names is None:
        return ()
    if names.ndim != 1 or names.dtype.kind != "U":
        raise InputError(f"'class_names' of '{path}' must be a list of strings, one per class: store it so")
    return tuple(str(name) for name in names)
