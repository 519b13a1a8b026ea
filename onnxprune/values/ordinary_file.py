"""Reading files that are files: a pipe or a socket would be waited for, and a device may never end."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_ordinary(path: Path | str) -> BinaryIO:
    """Open a file for reading, without waiting for whoever might write to it.

    Raises:
        OSError: it cannot be opened, or is no ordinary file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is a pipe, a device or a folder", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_ordinary(path: Path | str) -> bytes:
    """Return what is in a file.

    Raises:
        OSError: as `open_ordinary`.
    """
    with open_ordinary(path) as file:
        return file.read()


def read_text(path: Path | str) -> str:
    """Return the text in a file, in UTF-8 with or without a byte order mark.

    Raises:
        OSError: as `open_ordinary`.
        UnicodeDecodeError: it is no such text.
    """
    return read_ordinary(path).decode("utf-8-sig")
