"""Data in memory as arrays, samples stacked along axis 0: `x` or one array per input, labels and `class_names`.

The names of the model's inputs come first. Labels are `y`; where an input has that name, `labels`, then `targets`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.arrays import open_arrays, open_pixels
from onnxprune.data.dataset import Dataset, Reader
from onnxprune.data.format import DataRequest
from onnxprune.data.subtask import choose_classes, of_classes
from onnxprune.errors import InputError
from onnxprune.values.interface import TensorSpec

LABELS = ("y", "labels", "targets")
"""Where labels are looked for: under the first of these that is no input of the model."""

Labels = NDArray[np.int64]
Arrays = Mapping[str, NDArray[Any]]


def open_stacked(request: DataRequest, arrays: Arrays) -> Dataset:
    """Open the arrays that were read from the path of a request, by name.

    Raises:
        InputError: they do not fit the model, or each other.
    """
    path, inputs, preprocess, classes = request.path, request.inputs, request.preprocess, request.classes
    by_input = _by_input(arrays, inputs, path)
    reader: Reader
    only = by_input[inputs[0].name]
    if len(inputs) == 1 and only.dtype == np.uint8 and _takes_pixels(inputs[0]):
        if only.ndim == 0 or not len(only):
            raise InputError(f"'{path}' holds no samples: store at least one along axis 0", "no-data")
        reader, total = open_pixels(only, inputs[0], preprocess, f"'{path}'"), len(only)
    else:
        reader, total = open_arrays(by_input, inputs, preprocess, f"'{path}'")
        if not total:
            raise InputError(f"'{path}' holds no samples: store at least one along axis 0", "no-data")
    own = {spec.name for spec in inputs}
    key = next((name for name in LABELS if name not in own), "")
    labels = _labels(arrays[key], key, total, path) if key in arrays else None
    own_names = () if "class_names" in own else _names(arrays, path)
    names = request.names or own_names
    rows = np.arange(total, dtype=np.int64)
    # The labels may number more classes than the model has, or number them in another order.
    some = labels is not None and names != own_names and {*names} <= {*own_names}
    count = len(own_names) if some else classes if classes is not None else len(names) or None
    if labels is not None and (labels.min() < 0 or (count is not None and labels.max() >= count)):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(
            f"'{key}' of '{path}' holds the label {wrong}, outside the classes 0 to "
            f"{'...' if count is None else count - 1}: number the classes like the model's outputs",
            "bad-labels",
        )
    if some and labels is not None:
        place = np.array([names.index(name) if name in names else -1 for name in own_names])
        rows = np.flatnonzero(place[labels] >= 0)
        labels = place[labels[rows]]
        if not len(rows):
            raise InputError(f"'{path}' holds no sample of the model's classes ({', '.join(names)})", "no-data")
    numbers = choose_classes(request.only, names, labels, classes, f"'{path}'") if request.only else None
    if numbers is not None and labels is not None:
        chosen = np.flatnonzero(np.isin(labels, numbers))
        rows, labels = rows[chosen], labels[chosen]
    opened = Dataset(reader, rows, labels, names, skipped=(), source=f"{len(rows)} samples of '{path}'")
    return opened if numbers is None else of_classes(opened, numbers)


def _takes_pixels(spec: TensorSpec) -> bool:
    return spec.dtype.startswith("float") or (spec.dtype == "uint8" and len(spec.shape) == 4)


def _by_input(arrays: Arrays, inputs: Sequence[TensorSpec], path: Path) -> Arrays:
    wanted = [spec.name for spec in inputs]
    if len(wanted) == 1 and wanted[0] not in arrays and "x" in arrays:
        return {wanted[0]: arrays["x"]}
    missing = [name for name in wanted if name not in arrays]
    if missing:
        what = "'x'" if len(wanted) == 1 else f"'{missing[0]}'"
        raise InputError(
            f"'{path}' has no array {what} (it has {', '.join(arrays) or 'none'}): store the samples "
            f"{'as x' if len(wanted) == 1 else 'under the names of the inputs, ' + ', '.join(wanted)}",
            "data-mismatch",
        )
    return {name: arrays[name] for name in wanted}


def _labels(y: NDArray[Any], key: str, total: int, path: Path) -> Labels:
    flat = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if flat.ndim != 1 or flat.dtype.kind not in "iu" or len(flat) != total:
        raise InputError(
            f"'{key}' of '{path}' has shape {list(y.shape)} and type {y.dtype}: store one integer class per "
            f"sample, shape [{total}]",
            "bad-labels",
        )
    return flat.astype(np.int64)


def _names(arrays: Arrays, path: Path) -> tuple[str, ...]:
    """Return the names of the classes; those of equal names have their numbers behind them."""
    names = arrays.get("class_names")
    if names is None:
        return ()
    if names.ndim != 1 or names.dtype.kind != "U":
        raise InputError(
            f"'class_names' of '{path}' must be a list of strings, one per class: store it so", "bad-labels"
        )
    found = [str(name) for name in names]
    often = Counter(found)
    told = [f"{name} ({place})" if often[name] > 1 else name for place, name in enumerate(found)]
    return tuple(told if len({*told}) == len(told) else (f"{name} ({place})" for place, name in enumerate(found)))
