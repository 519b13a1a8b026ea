"""Finding the images of a folder and their classes, without opening a file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.decode import ENDINGS
from onnxprune.errors import InputError
from onnxprune.values.ordinary_file import read_text


@dataclass(frozen=True)
class Listing:
    """Image files, sorted, as paths relative to the folder, with their labels or None."""

    files: tuple[str, ...]
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]


def list_folder(folder: Path, class_names: tuple[str, ...] | None, only: Sequence[str] = ()) -> Listing:
    """List a folder of class folders (labelled), or of images alone (unlabelled).

    Class folders are searched at every depth. Names that begin with a dot or with two underscores (such as
    `.ipynb_checkpoints` and `__MACOSX`) are passed over.

    Args:
        folder: An existing folder.
        class_names: Name of each class by index, from a labels file; None takes the sorted folder names.
        only: The classes that are asked for; folders of others need not be in the labels file, and are left out then.

    Raises:
        InputError: no images, a class folder without images, images beside class folders, or a class
            folder that `class_names` does not have.
    """
    loose = _images(folder, deep=False)
    found = {child.name: _images(child, deep=True) for child in sorted(folder.iterdir()) if _is_class(child)}
    if not loose and not any(found.values()):
        endings = ", ".join(sorted(ending[1:] for ending in ENDINGS))
        raise InputError(
            f"'{folder}' holds no images ({endings}): give a folder of images or of class folders", "no-data"
        )
    if not any(found.values()):
        return Listing(tuple(loose), None, class_names or ())
    if loose:
        raise InputError(
            f"'{folder}' holds images ('{loose[0]}') beside class folders ('{next(iter(found))}'): "
            "move the images into the folder of their class",
            "bad-data",
        )
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise InputError(
            f"class folder '{folder / empty[0]}' holds no images: add some or remove the folder", "no-data"
        )
    names = class_names or tuple(found)
    if only:
        found = {name: files for name, files in found.items() if name in names or name in only}
    unlisted = [name for name in found if name not in names]
    if unlisted:
        raise InputError(
            f"class folder '{folder / unlisted[0]}' is not a name in the file of --labels: "
            "add a line with this name or rename the folder",
            "bad-labels",
        )
    files = tuple(f"{name}/{file}" for name, members in found.items() for file in members)
    index = {name: place for place, name in enumerate(names)}
    labels = [index[name] for name, members in found.items() for _ in members]
    return Listing(files, np.array(labels, dtype=np.int64), names)


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read a labels file: one class name per line, in the order of the model's outputs.

    Raises:
        InputError: the file cannot be read, is empty, or has an empty or repeated line.
    """
    try:
        lines = [line.strip() for line in read_text(path).rstrip().splitlines()]
    except FileNotFoundError as error:
        raise InputError(f"there is no file '{path}' of --labels: check the path", "missing-file") from error
    except OSError as error:
        raise InputError(
            f"--labels '{path}' cannot be read ({error.strerror}): name a text file", "unreadable-file"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"--labels '{path}' cannot be read as UTF-8 text: give one class name per line", "unreadable-file"
        ) from error
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line or line in seen:
            fault = f"repeats '{line}'" if line else "is empty"
            raise InputError(
                f"line {number} of --labels '{path}' {fault}: give one class name per line, once each", "bad-labels"
            )
        seen.add(line)
    if not lines:
        raise InputError(f"--labels '{path}' is empty: give one class name per line", "bad-labels")
    return tuple(lines)


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "__"))


def _images(folder: Path, *, deep: bool) -> list[str]:
    """Images in a folder as sorted POSIX paths relative to it."""
    found = []
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if deep and not name.startswith((".", "__"))]
        relative = Path(base).relative_to(folder)
        found += [
            (relative / name).as_posix()
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in ENDINGS  # noqa: PTH122
        ]
    return sorted(found)
