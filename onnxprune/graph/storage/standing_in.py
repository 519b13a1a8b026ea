"""The older model while its data files are replaced, so that a process that is killed meanwhile leaves it whole.

A model and its data files are several files, and no system replaces several at once. So the data files are copied
first, and a copy of the model that reads the copies stands in for it; then the data files are replaced, and the new
model comes last. At any moment there is a model with the weights that are its own. (Hard links would cost nothing, but
onnx does not load data that have any.)
"""

import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError

from onnxprune.graph.storage.scratch import PREFIX
from onnxprune.graph.storage.weights import is_external, location, set_entries, stored_tensors

OLDER = f"{PREFIX}older-"
"""Begins the names of copies of data files."""


class Copies(NamedTuple):
    """Copies of data files: those just made, by what they are of, and those of a killed process that are still read."""

    made: Mapping[Path, Path] = MappingProxyType({})
    left: tuple[Path, ...] = ()


def copy_name(path: Path) -> Path:
    """Return under which name a data file is kept while it is replaced."""
    return path.with_name(OLDER + path.name)


def stand_in(model: Path, replaced: Collection[Path], copy: Path) -> Copies | None:
    """Copy the data files of a model that are about to be replaced, and write a copy of it that reads these.

    Args:
        model: the file that is there.
        replaced: what is about to be replaced.
        copy: where that of the model is written; it is not where the model reads no file that is replaced.

    Returns:
        The copies; None where there can be none: it is no model, or there is no space.
    """
    made: dict[Path, Path] = {}
    try:
        proto = onnx.load_from_string(model.read_bytes())
        tensors = [tensor for tensor in stored_tensors(proto) if is_external(tensor)]
        files = {place: model.parent / place for place in dict.fromkeys(map(location, tensors))}
        targets = {os.path.realpath(path): path for path in replaced}
        mine = {place: path for place, path in files.items() if os.path.realpath(path) in targets}
        for path in mine.values():
            made[targets[os.path.realpath(path)]] = copy_name(path)
            copy_name(path).unlink(missing_ok=True)
            shutil.copyfile(path, copy_name(path))
            shutil.copymode(path, copy_name(path))
        for tensor in tensors:
            if location(tensor) in mine:
                place = PurePosixPath(location(tensor))
                set_entries(tensor, {"location": str(place.with_name(OLDER + place.name))})
        if mine:
            copy.write_bytes(proto.SerializeToString())
        left = [path for place, path in files.items() if path.name.startswith(OLDER) and place not in mine]
        return Copies(made, tuple(path for path in left if not _is_read_beside(model, path)))
    except (DecodeError, OSError, ValueError):
        remove(made.values())
        return None
    except BaseException:  # interrupted
        remove(made.values())
        raise


def _is_read_beside(model: Path, data: Path) -> bool:
    """Whether another model beside this one may read a data file."""
    for other in model.parent.glob("*.onnx"):
        try:
            if other != model and any(
                is_external(tensor) and model.parent / location(tensor) == data
                for tensor in stored_tensors(onnx.load_from_string(other.read_bytes()))
            ):
                return True
        except (DecodeError, OSError, ValueError):
            return True
    return False


def remove(copies: Iterable[Path]) -> None:
    """Remove copies of data files, as far as they are there."""
    for path in copies:
        with suppress(OSError):
            path.unlink()
