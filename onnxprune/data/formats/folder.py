"""A folder of images, or of sub-folders of images by class."""

from pathlib import Path

import numpy as np

from onnxprune.data.dataset import Dataset
from onnxprune.data.folder import list_folder
from onnxprune.data.format import DataRequest, Format, register
from onnxprune.data.image_files import open_files
from onnxprune.data.image_input import image_input
from onnxprune.data.split import choose
from onnxprune.data.subtask import choose_classes, of_classes
from onnxprune.errors import InputError

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "holdout"})
"""What folders are called that hold a part of a data set each."""


def open_folder(request: DataRequest) -> Dataset:
    """Open the images of a folder; no more of them than are needed are looked into."""
    folder, classes, only = request.path, request.classes, request.only
    spec = image_input(request.inputs, request.preprocess).spec
    listing = list_folder(folder, request.names, only)
    labels = listing.labels
    if labels is not None and request.names is None and classes is not None and len(listing.class_names) != classes:
        parts = [name for name in listing.class_names if name.lower() in SPLITS]
        if len(parts) == len(listing.class_names):
            raise InputError(
                f"'{folder}' holds the parts of a data set ({', '.join(parts)}) and no classes: give one of them with "
                f"--data, such as '{folder / parts[0]}', and another with --test",
                "bad-labels",
            )
        raise InputError(
            f"'{folder}' has {len(listing.class_names)} class folders but the model has {classes} classes: "
            f"pass --labels FILE with the {classes} class names, one per line, in the order of its outputs",
            "bad-labels",
        )
    files = np.array(listing.files, dtype=object)
    numbers = choose_classes(only, listing.class_names, labels, classes, f"'{folder}'") if only else None
    if numbers is not None and labels is not None:
        wanted = np.isin(labels, numbers)
        files, labels = files[wanted], labels[wanted]
    if request.limit is not None:
        chosen = choose(labels, len(files), request.limit, request.seed)
        files, labels = files[chosen], None if labels is None else labels[chosen]
    reader, bad = open_files(folder, tuple(files), spec, request.preprocess, request.cache_bytes)
    good = [place for place in range(len(files)) if place not in bad]
    opened = Dataset(
        reader=reader,
        rows=np.arange(len(good), dtype=np.int64),
        labels=None if labels is None else labels[good],
        class_names=listing.class_names,
        skipped=tuple(str(files[place]) for place in bad),
        converted=reader.converted,
        source=f"{len(good)} images under '{folder}'",
    )
    return opened if numbers is None else of_classes(opened, numbers)


register(Format("folder", "a folder", "a folder of images", Path.is_dir, open_folder, general=True))
