"""Reading .npz and .npy files: numbers and texts alone, nothing unpickled, nothing that expands without bounds."""

import lzma
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from onnxprune.values.ordinary_file import open_ordinary

Array = NDArray[Any]

EXPANDED = 2 << 30
"""Bytes that a file may expand to, whatever its own size."""

RATIO = 64
"""How many times its own size a file may expand to beyond that."""

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_FAULTS = (
    EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
    struct.error, SyntaxError, TokenError, TypeError, OverflowError,
)  # fmt: skip
"""What zipfile, the codecs and numpy raise for files that are not whole, encrypted, or of another kind."""


class ArrayFileError(ValueError):
    """A file cannot be read as arrays; the message says why."""


class ObjectsError(ArrayFileError):
    """A file holds Python objects, which are never loaded because that can run code."""


def read_array_file(path: Path | str) -> Mapping[str, Array] | Array:
    """Return the arrays of an .npz file by name, or the one of an .npy file.

    Raises:
        ArrayFileError: it is no such file, damaged, or would take more memory than its size explains.
        OSError: it cannot be opened, or is no ordinary file.
    """
    with open_ordinary(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(4)
        file.seek(0)
        return _read_archive(file, size) if start in _ZIP else _read_array(file, size)


def _read_archive(file: IO[bytes], size: int) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(set(names)) < len(names):
                raise ArrayFileError(f"it holds {next(name for name in names if names.count(name) > 1)!r} twice")
            expanded = sum(member.file_size for member in members)
            if expanded > max(EXPANDED, RATIO * size):
                raise ArrayFileError(
                    f"its {size:,} bytes expand to {expanded:,}; store it uncompressed if that is meant"
                )
            found = {}
            for name, member in zip(names, members, strict=True):
                with archive.open(member) as held:
                    found[name] = _read_array(held, member.file_size, f"member {member.filename!r}")
            return found
    except ArrayFileError:
        raise
    except _FAULTS as error:
        raise ArrayFileError(str(error) or type(error).__name__) from error


def _read_array(file: IO[bytes], size: int, what: str = "it") -> Array:
    """Read an array of a file, or member of an archive, of `size` bytes, once its header agrees with that."""
    try:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise ArrayFileError(f"{what} is no array of numbers")
        shape, _, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise ObjectsError(f"{what} holds Python objects")
        needed = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or needed != size - file.tell():
            raise ArrayFileError(f"{what} has a header that does not fit its {size:,} bytes")
        file.seek(0)
        return np.asarray(npy.read_array(file, allow_pickle=False))
    except ArrayFileError:
        raise
    except _FAULTS as error:
        raise ArrayFileError(f"{what} is no array: {error}") from error
