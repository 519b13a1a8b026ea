"""Opening whatever the user points at as a `Dataset`, in whichever of the known formats it is."""

from collections.abc import Sequence
from pathlib import Path

from onnxprune.data.dataset import Dataset
from onnxprune.data.folder import read_class_names
from onnxprune.data.format import FORMATS, DataRequest, Format
from onnxprune.data.image_files import CACHE_BYTES
from onnxprune.data.split import choose
from onnxprune.errors import InputError
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import Preprocess


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
    * What other packages read, see `FORMATS`.

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
            "give one line per model output",
            "bad-labels",
        )
    refuse_missing(path)
    request = DataRequest(path, inputs, preprocess, known, classes, only, limit, seed, cache_bytes)
    opened = _format_of(path).open(request)
    return opened if limit is None else opened.subset(choose(opened.labels, len(opened), limit, seed))


def _format_of(path: Path) -> Format:
    """Return the format of a path that is there.

    Raises:
        InputError: it is of none.
    """
    taking = [known for known in FORMATS.values() if known.takes(path)]
    if not taking:
        kinds, wanted = zip(*((known.kind, known.wanted) for known in FORMATS.values()), strict=True)
        broken = "; ".join(f"data format {name!r} cannot be used: {why}" for name, why in FORMATS.broken.items())
        raise InputError(
            f"'{path}' is neither {' nor '.join(kinds)}: give {' or '.join(wanted)}{broken and f' ({broken})'}",
            "unreadable-file",
        )
    return min(taking, key=lambda known: known.general)


def refuse_missing(path: Path) -> None:
    """Refuse data that are not there, before anything long is done.

    Raises:
        InputError: there is no such file or folder.
    """
    if not path.exists():
        raise InputError(f"there is no file or folder '{path}': check the path", "missing-file")
