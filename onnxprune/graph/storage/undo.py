"""Taking back what a killed process had put in place, by a log that it kept beside what it was replacing.

A result is several files, and no system replaces several at once. So the log says, before the first is replaced, where
the older ones are kept and which are new. Whoever finds the log of a process that is no more restores the older result,
but for files that somebody else has changed meanwhile.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from onnxprune.values.ordinary_file import read_text

NAME = "undo.json"


def write_log(folder: Path, kept: Mapping[Path, Path], new: Mapping[Path, int]) -> None:
    """Write the log of files that go beside a temporary folder, or below.

    Args:
        folder: the temporary folder, which holds the log.
        kept: by the place of each older file, where it is kept in the folder.
        new: by the place of each file that is put in place, its inode.

    Raises:
        OSError: it cannot be written.
    """
    inodes = {_name(folder, place): inode for place, inode in new.items() if place.is_relative_to(folder.parent)}
    backups = {_name(folder, place): backup.name for place, backup in kept.items() if _name(folder, place) in inodes}
    (folder / NAME).write_text(json.dumps({"new": inodes, "kept": backups}), encoding="utf-8")


def end_log(folder: Path) -> None:
    """Say that everything is in its place."""
    with suppress(OSError):
        (folder / NAME).unlink()


def roll_back(folder: Path) -> None:
    """Take back what the log in a temporary folder tells of, as far as it is there."""
    try:
        log = json.loads(read_text(folder / NAME))
        new = {str(name): int(inode) for name, inode in log["new"].items()}
        kept = {str(name): str(backup) for name, backup in log["kept"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    for name in dict.fromkeys([*new, *kept]):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            continue
        place = folder.parent / name
        with suppress(OSError):
            there = place.lstat().st_ino if place.exists() or place.is_symlink() else None
            if there is not None and there != new.get(name):
                continue  # the older one is still there, or somebody has put something else there
            if name in kept:
                (folder / Path(kept[name]).name).replace(place)
            elif there is not None:
                place.unlink()


def _name(folder: Path, place: Path) -> str:
    return place.relative_to(folder.parent).as_posix() if place.is_relative_to(folder.parent) else ""
