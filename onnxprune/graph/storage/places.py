"""Where an output really goes: through links to the file that they name, and nowhere from the null device."""

import os
import stat
from pathlib import Path


def is_null(path: Path) -> bool:
    """Whether what is written to `path` is thrown away: it is the null device, or a link to it."""
    try:
        found, null = path.stat(), os.stat(os.devnull)  # noqa: PTH116 (it is no path on every system)
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(found.st_mode) and getattr(found, "st_rdev", 0) == getattr(null, "st_rdev", 0)


def followed(path: Path) -> Path:
    """Return what a link leads to, whether it is there or not; anything else as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def beside(output: Path, ending: str) -> Path:
    """Return where a file goes by default that belongs to an output: nowhere where the output goes nowhere."""
    return output if is_null(output) else output.with_suffix(ending)


def remove(output: Path) -> None:
    """Remove what was written to `output`, if anything was; a link stays."""
    if not is_null(output):
        followed(output).unlink(missing_ok=True)
