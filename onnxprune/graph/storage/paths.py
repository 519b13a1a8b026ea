"""Nothing of the user's is overwritten by accident, and no long run fails at its last step for a wrong path."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from onnxprune.errors import InputError
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.places import followed, is_null
from onnxprune.graph.storage.save import locations
from onnxprune.graph.storage.standing_in import OLDER, copy_name
from onnxprune.graph.storage.weights import Weights


def check_input(model: Path) -> None:
    """Refuse a model that is not there, before its name is blamed for where the outputs would go.

    Raises:
        InputError: there is no such file.
    """
    if not model.exists():
        raise InputError(f"No such model: {model}; check the path.", "missing-file")


@dataclass(frozen=True)
class Inputs:
    """Everything that a command reads, by what messages call it; None where it is not given.

    Attributes:
        files: files and folders of data.
        models: the models, whose data files are read as well.
        cache: the folder in which measurements are kept.
    """

    files: Mapping[str, Path | None]
    models: Mapping[str, Path | None] = field(default_factory=dict)
    cache: Path | None = None

    def named(self) -> list[tuple[str, Path]]:
        """Return what is given, but for the data files of models."""
        return _given({**self.models, **self.files})

    def data_files(self) -> list[tuple[str, Path]]:
        """Return the data files of the models.

        Raises:
            InputError: a model cannot be read.
        """
        found = []
        for what, path in _given(self.models):
            _, weights = open_model(path)
            places = [(place, file.path) for place, file in weights.files.items() if place != weights.own]
            found += [(f"{what.replace('input ', '')}'s data file {place!r}", file) for place, file in places]
        return found

    def paths(self) -> list[Path]:
        """Return everything that is read."""
        return [path for _, path in (*self.named(), *self.data_files())]


def check_outputs(outputs: Mapping[str, Path | None], inputs: Inputs) -> None:
    """Refuse output paths that are read, coincide, or cannot be written; links count as what they lead to.

    Args:
        outputs: where things go, by what they are ("the model"); None where they go nowhere.
        inputs: what is read.

    Raises:
        InputError: names the first path that will not do, or a model cannot be read.
    """
    written = [(what, path, followed(path)) for what, path in _given(outputs) if not is_null(path)]
    read = inputs.named()
    _refuse_devices(read)
    if any(place.exists() for _, _, place in written):  # every data file exists, so what does not exist is none
        read += inputs.data_files()
    seen: dict[str, Path] = {}
    for what, path, place in written:
        for other, source in read:
            if _same(place, source):
                raise InputError(
                    f"{_start(what)} would overwrite {other}, {source}; name another file for it.", "would-overwrite"
                )
            if source.is_dir() and place.is_file() and _holds(source, place.stat()):
                raise InputError(
                    f"{_start(what)} would overwrite {path}, which is part of {other}; name another file.",
                    "would-overwrite",
                )
        if inputs.cache is not None and _same(place.parent, inputs.cache):
            raise InputError(
                f"{_start(what)} cannot be written to {path}, as {inputs.cache} is the cache folder; "
                "name another file.",
                "would-overwrite",
            )
        for other, taken in seen.items():
            if _same(place, taken):
                raise InputError(
                    f"{_start(what)} and {other} would both be written to {path}; name two files.", "would-overwrite"
                )
        _refuse_unwritable(what, path, place)
        seen[what] = place


def _refuse_devices(read: list[tuple[str, Path]]) -> None:
    for what, path in read:
        if path.is_char_device() or path.is_block_device():
            raise InputError(f"{_start(what)}, {path}, is a device; name a file or a folder.", "unreadable-file")


def _refuse_unwritable(what: str, path: Path, place: Path) -> None:
    """Refuse to write to `path`, which leads to `place`, where no file can be put."""
    if place.is_dir():
        raise InputError(
            f"{_start(what)} cannot be written to {path}, which is a folder; name a file in it.", "not-writable"
        )
    if place.is_symlink():
        raise InputError(
            f"{_start(what)} cannot be written to {path}, a link that leads nowhere; name a file.", "not-writable"
        )
    if path.exists() and not path.is_file():
        raise InputError(
            f"{_start(what)} cannot be written to {path}, which is a device, a pipe or a socket; name a file, or "
            f"{os.devnull}.",
            "not-writable",
        )
    if not place.parent.is_dir() or not os.access(place.parent, os.W_OK):
        raise InputError(
            f"{_start(what)} cannot be written to {path}: {place.parent} is no folder that can be written; "
            "make it or name another.",
            "not-writable",
        )


def check_folder(what: str, folder: Path, inputs: Inputs, *, alone: bool = False) -> None:
    """Refuse a folder for new files that is read, or lies in data that are read.

    Args:
        what: is written there ("the logs").
        folder: it.
        inputs: what is read.
        alone: whether nothing that is read may lie in it either.

    Raises:
        InputError: see above.
    """
    place = Path(os.path.realpath(folder))
    for other, source in inputs.named():
        if any(_same(part, source) for part in (place, *place.parents)):
            raise InputError(
                f"{_start(what)} {folder} would be part of {other}, {source}; name another folder.", "would-overwrite"
            )
        if alone and any(_same(place, part) for part in Path(os.path.realpath(source)).parents):
            raise InputError(
                f"{_start(what)} {folder} has {other} in it, {source}; name another folder.", "would-overwrite"
            )


def _given(paths: Mapping[str, Path | None]) -> list[tuple[str, Path]]:
    return [(what, path) for what, path in paths.items() if path is not None]


def _start(what: str) -> str:
    return what[0].upper() + what[1:]


def _same(path: Path, other: Path) -> bool:
    """Whether two paths are one file, or will be: names that differ in case alone are one where the system says so."""
    if path.exists() and other.exists():
        return path.samefile(other)
    one, two = os.path.realpath(path), os.path.realpath(other)
    return one == two or (one.casefold() == two.casefold() and _ignores_case(Path(one).parent))


def _ignores_case(folder: Path) -> bool:
    """Whether names in a folder that differ in case alone are one, as far as what is there tells."""
    there = [*folder.iterdir(), folder] if folder.is_dir() else []
    told = [path for path in there if path.name.swapcase() != path.name]
    return bool(told) and os.path.exists(told[0].with_name(told[0].name.swapcase()))  # noqa: PTH110


def _holds(folder: Path, file: os.stat_result, *, top: bool = True) -> bool:
    """Whether a file is in a folder, under whatever name; links to folders are followed as those of classes are."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=top):
                if _holds(Path(entry.path), file, top=False):
                    return True
            elif entry.is_symlink() or entry.inode() == file.st_ino:
                with suppress(OSError):
                    if os.path.samestat(os.stat(entry.path), file):  # noqa: PTH116
                        return True
    return False


def data_names(
    model: onnx.ModelProto,
    weights: Weights,
    output: Path,
    taken: Collection[Path] = (),
    inputs: Inputs | None = None,
) -> dict[str, str]:
    """Choose where the data files of `output` go, as location in `model` -> new location.

    A file keeps its name unless something else has it already: a file of another model, one that the weights are read
    from, one of `taken`, or one of `inputs`. Then it is named after the output.
    """
    places = locations(model, weights)
    if not places:  # then there is no need to look for what the inputs refer to
        return {}
    output = followed(output)
    read = [] if inputs is None else inputs.paths()
    used = [output, *taken, *read, *(file.path for file in weights.files.values())]
    chosen = {}
    for place in places:
        name = next(name for name in _candidates(place, output, len(places)) if _is_free(output, name, used))
        used.append(output.parent / name)
        chosen[place] = name
    return chosen


def _candidates(place: str, output: Path, count: int) -> Iterator[str]:
    place = str(Path(place).with_name(Path(place).name.removeprefix(OLDER))) if OLDER in place else place
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
        return not target.is_symlink()
    neighbours = {file for folder in (output.parent, target.parent) for file in folder.glob("*.onnx")}
    owners = {file.resolve() for file in neighbours if _refers(file, target) or _refers(file, copy_name(target))}
    return owners == {output.resolve()}


def _refers(model: Path, target: Path) -> bool:
    """Whether a model has `target` among its data files; one that cannot be read might."""
    try:
        _, weights = open_model(model)
    except InputError:
        return True
    return any(_same(file.path, target) for file in weights.files.values())
