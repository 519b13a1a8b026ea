"""Writing files so that nothing is ever half written: in temporary folders beside their places, then put there."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import onnx

from onnxprune.errors import InputError
from onnxprune.graph.storage.scratch import Scratch


class Staging:
    """Files that are made in temporary folders beside their places and put there together, or not at all.

    A context manager: what was not put in place at the end is gone.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, Scratch] = {}
        self._backups: dict[Path, Path] = {}
        self._placed: list[Path] = []

    def __enter__(self) -> "Staging":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for scratch in self._folders.values():
            scratch.remove()

    def folder(self, target: Path) -> Path:
        """Return the temporary folder in which the files that belong beside `target` are made, under their own names.

        Raises:
            InputError: the folder of `target` does not exist or cannot be written.
        """
        parent = target.parent
        if parent not in self._folders:
            try:
                self._folders[parent] = Scratch(parent)
            except OSError as error:
                raise InputError(
                    f"Cannot write {target} ({error.strerror}); name a folder that can be written."
                ) from None
        return self._folders[parent].folder

    def write(self, target: Path, content: bytes) -> None:
        """Make one file.

        Raises:
            InputError: as `folder`, or there is no space.
        """
        with explained(target):
            (self.folder(target) / target.name).write_bytes(content)

    def commit(self, last: Path | None = None, *, withdrawn: bool = False) -> None:
        """Put every file in its place, `last` after all others; on failure everything is as it was.

        A model is `withdrawn` first whose data files are about to be replaced: whoever kills the process in between
        leaves no model, and not one that reads another one's weights.

        Raises:
            InputError: a file cannot be put in its place.
        """
        staged = [
            (file, parent / file.relative_to(scratch.folder))
            for parent, scratch in self._folders.items()
            for file in sorted(scratch.folder.rglob("*"))
            if file.is_file()
        ]
        staged.sort(key=lambda pair: pair[1] == last)
        try:
            if withdrawn and last is not None and last.is_file():
                backup = self.folder(last) / f"{len(self._backups)}.old"
                last.replace(backup)
                self._backups[last] = backup
            for file, target in staged:
                with explained(target):
                    self._put(file, target)
        except BaseException:
            self._undo()
            raise

    def _put(self, file: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file():
            backup = file.with_name(f"{len(self._backups)}.old")
            with suppress(OSError):  # a file system without links: then there is no way back, but no file is lost
                backup.hardlink_to(target)
                self._backups[target] = backup
        existed = target.exists()
        file.replace(target)
        if not existed:
            self._placed.append(target)

    def _undo(self) -> None:
        for target in self._placed:
            target.unlink(missing_ok=True)
        for target, backup in self._backups.items():
            with suppress(OSError):
                backup.replace(target)


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn an OSError into the sentence that names what could not be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"Cannot write {target} ({error.strerror}); free some space or name another place.") from None


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
