"""Nothing of the user's is overwritten by accident, and no long run fails at its last step for a wrong path."""

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import onnx

from onnxprune.errors import InputError
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.save import locations
from onnxprune.graph.storage.weights import Weights


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


def data_files(weights: Weights) -> dict[str, Path]:
    """Return the data files of a loaded model, by what messages call them."""
    return {
        f"the model's data file {place!r}": file.path for place, file in weights.files.items() if place != weights.own
    }


def data_names(model: onnx.ModelProto, weights: Weights, output: Path, taken: Collection[Path] = ()) -> dict[str, str]:
    """Choose where the data files of `output` go, as location in `model` -> new location.

    A file keeps its name unless something else has it already: a file of another model, or one of `taken`. Then it is
    named after the output.
    """
    places = locations(model, weights)
    used = [output, *taken]
    chosen = {}
    for place in places:
        name = next(name for name in _candidates(place, output, len(places)) if _is_free(output, name, used))
        used.append(output.parent / name)
        chosen[place] = name
    return chosen


def _candidates(place: str, output: Path, count: int) -> Iterator[str]:
    yield place
    base = f"{output.name}.data" if count == 1 else f"{output.name}.{Path(place).name}"
    yield base
    number = 2
    while True:
        yield f"{base}-{number}"
        number += 1


def _is_free(output: Path, name: str, used: Collection[Path]) -> bool:
    """Whether a data file of `output` may be called so: there is none yet, or it belongs to the output alone."""
    target = output.parent / name
    if any(_same(target, path) for path in used):
        return False
    if not target.exists():
        return True
    neighbours = {file for folder in (output.parent, target.parent) for file in folder.glob("*.onnx")}
    return {file for file in neighbours if _refers(file, target)} == {output}


def _refers(model: Path, target: Path) -> bool:
    """Whether a model has `target` among its data files; one that cannot be read might."""
    try:
        _, weights = open_model(model)
    except InputError:
        return True
    return any(_same(file.path, target) for file in weights.files.values())
