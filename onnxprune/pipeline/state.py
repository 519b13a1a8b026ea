"""The state of a run in steps: a small file from which a run that was stopped goes on.

The state after a step is the keep masks alone, as every step cuts the original by all that went so far. It is written
in one step after each, so that whoever stops the run at any moment finds the state before or after.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.errors import UnreachableError, VerificationError
from onnxprune.graph.storage.places import remove
from onnxprune.graph.storage.resumable import Resumable
from onnxprune.values.axes import BoolArray
from onnxprune.values.groups import ChannelGroup

STEPS = Resumable("state of a run in steps")

Facts = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Progress:
    """What the steps so far came to.

    Attributes:
        keep: mask of every group of the original that may be cut: [channels], True = kept.
        left: the MACs that each step left, as shares of the original's.
        removed: channels of the original that were gone after each step.
        notes: what the methods had to say.
    """

    keep: Mapping[str, BoolArray]
    left: tuple[float, ...] = ()
    removed: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        """How many steps are finished."""
        return len(self.left)

    @property
    def removed_channels(self) -> int:
        """How many channels have gone."""
        return self.removed[-1] if self.removed else 0

    @property
    def converged(self) -> bool:
        """Whether the last step removed nothing."""
        return self.done > 0 and self.removed_channels == (self.removed[-2] if self.done > 1 else 0)

    def after(self, keep: Mapping[str, BoolArray], left: float, notes: Iterable[str]) -> "Progress":
        """Return what one more step makes of it; `notes` are those of its scores."""
        removed = sum(int((~mask).sum()) for mask in keep.values())
        known = tuple(dict.fromkeys((*self.notes, *notes)))
        return Progress(keep, (*self.left, left), (*self.removed, removed), known)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types: the channels that went, by group, in the order of the masks."""
        gone = {name: np.flatnonzero(~mask).tolist() for name, mask in self.keep.items()}
        return {"left": list(self.left), "removed": list(self.removed), "notes": list(self.notes), "gone": gone}


@dataclass(frozen=True, eq=False)
class State:
    """Where the progress of a run is kept.

    Attributes:
        path: of the file.
        run: what tells this run from others.
        begun: what an earlier part of this run came to; None: this is the first.
        files: where that part was about to put the result's data files, by location; None: it did not come so far.
    """

    path: Path
    run: Facts
    begun: Progress | None = None
    files: Mapping[str, str] | None = None

    def save(self, progress: Progress) -> None:
        """Write the progress in one step.

        Raises:
            InputError: it cannot be written there.
        """
        STEPS.save(self.path, self.run, progress.to_json())

    def data_files(self, chosen: Mapping[str, str]) -> Mapping[str, str]:
        """Return the names of the result's data files: those of before, else `chosen`, which are noted.

        A run that was stopped while it put its files in place may have left some. On their own they look like
        somebody else's, whose names are not taken.

        Raises:
            InputError: the state cannot be written.
        """
        if self.files is not None:
            return self.files
        fields = STEPS.read(self.path)
        STEPS.save(self.path, fields.pop("run"), {**fields, "files": dict(chosen)})
        return dict(chosen)

    def remove(self) -> None:
        """Remove the file: there is nothing to go on with any more."""
        remove(self.path)


@contextmanager
def removed_if_refused(state: State | None) -> Iterator[None]:
    """Forget the state of a run that is refused while it chooses: going on would end there again."""
    try:
        yield
    except UnreachableError:
        if state is not None:
            state.remove()
        raise


@contextmanager
def removed_once_written(state: State | None) -> Iterator[None]:
    """Forget the state once all is written; keep it for a result that is refused, as other limits may let it pass."""
    try:
        yield
    except (UnreachableError, VerificationError) as error:
        if state is None:
            raise
        raise type(error)(f"{error} The steps are in '{state.path}'; --resume goes on from them.", error.code) from None
    if state is not None:
        state.remove()


def read_state(path: Path, *, resume: bool) -> Facts | None:
    """Return what an earlier part of a run left to go on with; None where the run is to begin.

    Raises:
        InputError: there is nothing to resume, it is damaged, or there is something that would be begun anew over.
    """
    return STEPS.read_if(path, resume=resume)


def open_state(path: Path, content: Facts | None, run: Facts, groups: Iterable[ChannelGroup]) -> State:
    """Return the state of a run, which goes on from `content` (None: begins).

    Args:
        path: of the file.
        content: what `read_state` found.
        run: what tells this run from others.
        groups: of the original that may be cut.

    Raises:
        InputError: the content is of another run, or damaged.
    """
    if content is None:
        return State(path, run)
    STEPS.check_run(path, content["run"], run)
    try:
        files = content.get("files")
        if files is not None and any(type(name) is not str for name in (*files.keys(), *files.values())):
            raise ValueError("its files have no names")
        return State(path, run, _progress(content, {group.name: group.size for group in groups}), files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise STEPS.damaged(path, error) from None


def _progress(content: Facts, sizes: Mapping[str, int]) -> Progress:
    """Return the progress that a state holds.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it holds none, or one that contradicts itself.
    """
    left, removed, notes, gone = (content[name] for name in ("left", "removed", "notes", "gone"))
    if gone.keys() != sizes.keys():
        raise ValueError("its groups are not those of the model")
    keep = {}
    for name, channels in gone.items():
        if any(type(channel) is not int or not 0 <= channel < sizes[name] for channel in channels):
            raise ValueError(f"group {name!r} has no such channels")
        keep[name] = np.ones(sizes[name], dtype=bool)
        keep[name][channels] = False
        if not keep[name].any():
            raise ValueError(f"group {name!r} has no channels left")
    if not 0 < len(left) == len(removed) or any(type(share) not in (int, float) for share in left):
        raise ValueError("its steps are not whole")
    if removed != sorted(removed) or removed[-1] != sum(int((~mask).sum()) for mask in keep.values()):
        raise ValueError("its channels do not add up")
    if not all(isinstance(note, str) for note in notes):
        raise ValueError("its notes are none")
    return Progress(keep, tuple(map(float, left)), tuple(removed), tuple(notes))
