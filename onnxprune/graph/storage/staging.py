"""Writing files so that nothing is ever half written: in temporary folders beside their places, then put there."""

import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import onnx

from onnxprune.errors import InputError
from onnxprune.graph.storage.places import followed, is_null
from onnxprune.graph.storage.scratch import Scratch
from onnxprune.graph.storage.standing_in import OLDER, Copies, remove, stand_in


@dataclass(frozen=True)
class _Made:
    """Files that are made in a temporary folder: `parent` is where they go, but for one, by its name, that links."""

    scratch: Scratch
    parent: Path
    links: dict[str, Path]

    def files(self) -> list[tuple[Path, Path]]:
        """Return every file that was made, with where it goes."""
        found = [file for file in sorted(self.scratch.folder.rglob("*")) if file.is_file()]
        names = [file.relative_to(self.scratch.folder) for file in found]
        places = [self.links.get(str(name), self.parent / name) for name in names]
        return [(file, followed(place)) for file, place in zip(found, places, strict=True)]


class Staging:
    """Files that are made in temporary folders beside their places and put there together, or not at all.

    A link is followed: what it leads to is replaced. What goes to the null device is made and thrown away, with the
    files that belong beside it. A context manager: what was not put in place at the end is gone.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, _Made] = {}
        self._backups: dict[Path, Path] = {}
        self._placed: list[Path] = []
        self._aside: list[Scratch] = []
        self._copies = Copies()

    def __enter__(self) -> "Staging":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for scratch in (*(made.scratch for made in self._folders.values()), *self._aside):
            scratch.remove()

    def folder(self, target: Path) -> Path:
        """Return the temporary folder in which the files that belong beside `target` are made, under their own names.

        Raises:
            InputError: the folder of `target` does not exist or cannot be written.
        """
        null, link = is_null(target), target.is_symlink()
        key = target if null or link else target.parent
        if key not in self._folders:
            place = followed(target)
            self._folders[key] = _Made(_scratch(target), place.parent, {target.name: place} if link else {})
        return self._folders[key].scratch.folder

    def aside(self, target: Path) -> Path:
        """Return a temporary folder beside `target` for files that are needed until the end, and go nowhere.

        Raises:
            InputError: as `folder`.
        """
        self._aside.append(_scratch(target))
        return self._aside[-1].folder

    def write(self, target: Path, content: bytes) -> None:
        """Make one file.

        Raises:
            InputError: as `folder`, or there is no space.
        """
        if is_null(target):
            return
        with explained(target):
            (self.folder(target) / target.name).write_bytes(content)

    def commit(self, last: Path | None = None, *, kept: bool = False) -> None:
        """Put every file in its place, `last` after all others; on failure everything is as it was.

        A model is `kept` whose data files are about to be replaced: whoever kills the process in between leaves one
        that computes what the older did, or where there is no space, none, and not one that reads another's weights.

        Raises:
            InputError: a file cannot be put in its place.
        """
        staged = [pair for key, made in self._folders.items() if not is_null(key) for pair in made.files()]
        place = None if last is None else followed(last)
        staged.sort(key=lambda pair: pair[1] == place)
        try:
            stands_in = place is not None and any(place.parent.glob(f"{OLDER}*"))  # a killed run left it
            if (kept or stands_in) and last is not None and place is not None and place.is_file():
                with explained(last):
                    self._keep(place, self.folder(last), [target for _, target in staged])
            for file, target in staged:
                with explained(target):
                    self._put(file, target)
        except BaseException:
            self._undo()
            raise
        remove((*self._copies.made.values(), *self._copies.left))

    def _keep(self, model: Path, folder: Path, replaced: list[Path]) -> None:
        """Put a copy in a model's place that reads copies of its data files, or take it away."""
        copy, backup = folder / f"{len(self._backups)}.copy", folder / f"{len(self._backups)}.old"
        copies = stand_in(model, replaced, copy)
        if copies is None:
            model.replace(backup)
            self._backups[model] = backup
            return
        self._copies = copies
        self._backups.update(copies.made)
        if copy.exists():
            copy.chmod(stat.S_IMODE(model.stat().st_mode))
            shutil.copyfile(model, backup)
            shutil.copymode(model, backup)
            self._backups[model] = backup
            copy.replace(model)

    def _put(self, file: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and target not in self._backups:
            backup = file.with_name(f"{len(self._backups)}.old")
            with suppress(OSError):  # a file system without links: then there is no way back, but no file is lost
                backup.hardlink_to(target)
                self._backups[target] = backup
        existed = target.exists()
        known = self._backups.get(target, target)
        with suppress(OSError):  # there is none, or a file system without modes
            file.chmod(stat.S_IMODE(known.stat().st_mode))
        file.replace(target)
        if not existed:
            self._placed.append(target)

    def _undo(self) -> None:
        for target in self._placed:
            with suppress(OSError):
                target.unlink()
        copies = {*self._copies.made.values()}
        for target, backup in self._backups.items():
            with suppress(OSError):
                if backup in copies:  # the model that stands in still reads it
                    again = backup.with_name(f"{backup.name}.again")
                    shutil.copyfile(backup, again)
                    backup = again
                backup.replace(target)
        remove(self._copies.made.values())


def _scratch(target: Path) -> Scratch:
    """Make a temporary folder beside `target`."""
    try:
        return Scratch(Path(tempfile.gettempdir()) if is_null(target) else followed(target).parent)
    except OSError as error:
        raise InputError(
            f"Cannot write {target} ({error.strerror}); name a folder that can be written.", "not-writable"
        ) from None


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn an OSError into the sentence that names what could not be written."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Cannot write {target} ({error.strerror}); free some space or name another place.", "not-writable"
        ) from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    with Staging() as staging:
        staging.write(path, content)
        staging.commit()


def with_metadata(model: onnx.ModelProto, entries: dict[str, str]) -> onnx.ModelProto:
    """Set metadata entries of `model` in place, leaving the others as they are, and return it."""
    known = {entry.key: entry for entry in model.metadata_props}
    for key, value in entries.items():
        if key in known:
            known[key].value = value
        else:
            model.metadata_props.add(key=key, value=value)
    return model
