"""Where an output really goes: through links to the file that they name."""

import os
from pathlib import Path


def followed(path: Path) -> Path:
    """Return what a link leads to, whether it is there or not; anything else as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path
