"""Read a .onnx file, or say in one sentence why it cannot be read."""

import mmap
import os
import stat
from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # the one name of protobuf that onnx does not re-export

from onnxprune.errors import InputError
from onnxprune.graph.storage.protobuf import strip
from onnxprune.graph.storage.soundness import unsound
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.weights import DataFile, Reference, Weights, block, is_external, location, stored_tensors
from onnxprune.values.ordinary_file import read_ordinary

MAPPED_FROM = 1 << 26
"""A file of at least so many bytes keeps its heavy weights; a smaller one is read whole."""


def open_model(path: Path | str) -> StoredModel:
    """Return the model in `path` and the weights that it only refers to: data files, and heavy values of its own file.

    Raises:
        InputError: no such file, not an ONNX model, a truncated one, one without nodes or outputs, with tensors that do
            not hold what they say, or data files that are missing, too short or outside the model's folder.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a model; name the .onnx file inside it.", "unreadable-file")
    if not os.path.exists(path):  # noqa: PTH110 (the method raises where a path is too long)
        raise InputError(f"No such model: {path}; check the path.", "missing-file")
    try:
        model, weights = _parse(path)
    except (DecodeError, ValueError):
        raise InputError(
            f"{path} is not a readable ONNX model (not a model at all, or cut short); export or copy it again.",
            "unreadable-file",
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the file.", "unreadable-file") from None
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise InputError(
            f"{path} holds no ONNX graph (no nodes, outputs or opset); export it again.", "unreadable-file"
        )
    fault = unsound(model)
    if fault:
        raise InputError(f"{path} {fault}; export it again.", "invalid-model")
    weights = _open_data(model, path, weights)
    _refuse_duplicates(model, path)
    return StoredModel(model, weights)


def load_model(path: Path | str) -> onnx.ModelProto:
    """Return the model in `path` as one value, all its weights inside; for models that fit.

    Raises:
        InputError: as `open_model`.
    """
    return open_model(path).inside()


def _parse(path: Path) -> StoredModel:
    """Parse a file, leaving heavy weights of a large one where they are."""
    if path.stat().st_size < MAPPED_FROM:
        return StoredModel(_parsed(read_ordinary(path)))
    # The runtime looks for the weights in the file's real folder, whatever link the path came by.
    real = path.resolve()
    own = _map(real)

    located = set()

    def refer_to_own(offset: int, length: int, is_located: bool) -> bytes:  # noqa: FBT001 (what `strip` tells of a tensor)
        if is_located:
            located.add(offset)
        tensor = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
        for key, value in (("location", real.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor.SerializeToString()

    model = _parsed(strip(own.mapping or b"", refer_to_own))
    own.release()
    others = any(is_external(tensor) and location(tensor) != real.name for tensor in stored_tensors(model))
    if others and real.parent != path.parent.resolve():
        return StoredModel(_parsed(read_ordinary(path)))
    return StoredModel(model, Weights(real.parent, real.name, {real.name: own}, located=frozenset(located)))


def _parsed(content: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.ParseFromString(content)
    return model


def _open_data(model: onnx.ModelProto, path: Path, weights: Weights) -> Weights:
    """Map the data files that the model refers to and check that every value lies within its file."""
    external = [tensor for tensor in stored_tensors(model) if is_external(tensor)]
    if not external:
        return Weights()
    folder = weights.folder or path.parent.resolve()
    files = dict(weights.files)
    blocks: dict[str, set[Reference]] = {}
    try:
        for tensor in external:
            place = location(tensor)
            if place not in files:
                found = _inside(folder, place)
                if found == path.resolve():
                    raise ValueError(f"{tensor.name!r} would lie in the model itself")
                files[place] = _map(found)
            blocks.setdefault(place, set()).add(block(tensor, files[place].size))
    except (OSError, ValueError) as error:
        reason = f"{error.strerror}: {place!r}" if isinstance(error, OSError) else str(error)
        raise InputError(
            f"The external weights of {path} cannot be read ({reason}); put the data files beside the model.",
            "unreadable-file",
        ) from None
    used = {name: replace(file, blocks=frozenset(blocks[name])) for name, file in files.items() if name in blocks}
    return replace(weights, folder=folder, files=used)


def _inside(folder: Path, place: str) -> Path:
    """Return the file at the location `place`, links followed.

    Raises:
        ValueError: it is not in the folder.
        OSError: there is no such file.
    """
    given = Path(place)
    if not place or "\0" in place or given.is_absolute() or given.drive or ".." in given.parts:
        raise ValueError(f"{place!r} is no path inside the model's folder")
    real = Path(os.path.realpath(folder / given, strict=True))
    if not real.is_relative_to(folder):
        raise ValueError(f"{place!r} leads out of the model's folder")
    return real


def _map(real: Path) -> DataFile:
    """Map a file for reading. `real` has no links, so one that stands there now was put there meanwhile.

    Raises:
        ValueError: this is no ordinary file.
        OSError: it cannot be opened.
    """
    handle = os.open(real, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{real.name!r} is no ordinary file")
        if not os.path.samestat(found, real.resolve(strict=True).stat()):
            raise ValueError(f"{real.name!r} changed while it was opened")
        mapping = mmap.mmap(handle, 0, access=mmap.ACCESS_READ) if found.st_size else None
        return DataFile(real, found.st_size, mapping)
    finally:
        os.close(handle)


def _refuse_duplicates(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a tensor with two origins. Initializers may be graph inputs as well: those are their defaults."""
    stored = [tensor.name for tensor in model.graph.initializer]
    fed = {value.name for value in model.graph.input} - set(stored)
    made = [name for node in model.graph.node for name in node.output if name]
    seen: set[str] = set()
    for name in (*stored, *fed, *made):
        if name in seen:
            raise InputError(
                f"{path} defines tensor {name!r} twice; a valid graph names every tensor once.", "invalid-model"
            )
        seen.add(name)
