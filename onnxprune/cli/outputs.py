"""Nothing of the user's is overwritten by accident, and no long run fails at its last step for a wrong path."""

import os
from collections.abc import Mapping
from pathlib import Path

from onnxprune.errors import InputError


def check_input(model: Path) -> None:
    """Refuse a model that is not there, before its name is blamed for where the outputs would go.

    Raises:
        InputError: there is no such file.
    """
    if not model.exists():
        raise InputError(f"No such model: {model}; check the path.")


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Refuse output paths that are an input, lie inside the sample data, coincide, or cannot be written.

    Args:
        outputs: where things go, by what they are ("the model"); None where they go nowhere.
        inputs: what is read, by what it is; None where it is not given.

    Raises:
        InputError: names the first path that will not do.
    """
    seen: dict[str, Path] = {}
    for what, path in _given(outputs):
        for other, source in _given(inputs):
            if _same(path, source):
                raise InputError(f"{_start(what)} would overwrite {other}, {source}; name another file for it.")
            if source.is_dir() and path.exists() and source.resolve() in path.resolve().parents:
                raise InputError(f"{_start(what)} would overwrite {path}, which is part of {other}; name another file.")
        for other, taken in seen.items():
            if _same(path, taken):
                raise InputError(f"{_start(what)} and {other} would both be written to {path}; name two files.")
        if path.is_dir():
            raise InputError(f"{_start(what)} cannot be written to {path}, which is a folder; name a file in it.")
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise InputError(
                f"{_start(what)} cannot be written to {path}: {path.parent} is no folder that can be written; "
                "make it or name another."
            )
        seen[what] = path


def _given(paths: Mapping[str, Path | None]) -> list[tuple[str, Path]]:
    return [(what, path) for what, path in paths.items() if path is not None]


def _start(what: str) -> str:
    return what[0].upper() + what[1:]


def _same(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()
