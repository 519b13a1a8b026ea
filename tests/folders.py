"""What lies in a folder."""

from pathlib import Path


def names(folder: Path) -> list[str]:
    """Return the names of its files and folders, in order."""
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    """Return its files, those of inner folders by their path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
