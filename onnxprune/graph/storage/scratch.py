"""Temporary folders beside the files that are made in them, which go even where the process that made them was killed.

Every folder is locked by its process for as long as it works in it, and the system lets go of a lock with the process,
however that ends. So a folder that can be locked is nobody's, on the same machine whatever container or user it is of.
"""

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX, SUFFIX = ".onnxprune-", ".part"


class Scratch:
    """A folder of this process alone.

    Attributes:
        folder: where it is.
    """

    def __init__(self, parent: Path) -> None:
        """Make a folder in `parent`, and remove those that processes left there which are no more.

        Raises:
            OSError: it cannot be made.
        """
        sweep(parent)
        while True:
            self.folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX, suffix=SUFFIX))
            self._lock = _locked(self.folder, wait=True)
            if self.folder.exists():  # nobody swept it away before it was locked
                return
            self._unlock()

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def sweep(parent: Path) -> None:
    """Remove the folders in `parent` that killed processes left behind."""
    with suppress(OSError):
        for folder in sorted(parent.glob(f"{PREFIX}*{SUFFIX}")):
            lock = _locked(folder, wait=False)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path, *, wait: bool) -> int | None:
    """Lock a folder and return what holds the lock; None where it is another's, or where there are no such locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
