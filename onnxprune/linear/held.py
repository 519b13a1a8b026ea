"""Tensors between two pieces of a run, call by call: in memory up to a limit, in scratch files beyond it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Protocol
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Calls(Protocol):
    """Feeds, call by call; a list will do, and so does what reads them when they are asked for."""

    def __len__(self) -> int:
        """How many calls there are."""

    def __getitem__(self, number: int, /) -> Mapping[str, Array]:
        """Return the feeds of one call."""

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        """Yield the feeds, call by call."""


@dataclass(frozen=True)
class _Scratch:
    """An array in a file."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Held:
    """The tensors of every call that later pieces read."""

    def __init__(self, memory: float) -> None:
        self._memory, self._used, self._written = memory, 0, 0
        self._calls: dict[int, dict[str, Array | _Scratch]] = {}
        self._folder: Path | None = None

    def __getitem__(self, call: int) -> dict[str, Array]:
        """Return the tensors of a call; none before any were held."""
        return {name: _read(kept) for name, kept in self._calls.get(call, {}).items()}

    def __setitem__(self, call: int, tensors: Mapping[str, Array]) -> None:
        """Hold other tensors of a call in place of those it had."""
        for kept in self._calls.pop(call, {}).values():
            if isinstance(kept, _Scratch):
                kept.path.unlink(missing_ok=True)
            else:
                self._used -= kept.nbytes
        self._calls[call] = {name: self._kept(value) for name, value in tensors.items()}

    def _kept(self, value: Array) -> Array | _Scratch:
        if self._used + value.nbytes <= self._memory or value.dtype.hasobject:
            self._used += value.nbytes
            return value
        if self._folder is None:
            self._folder = Path(mkdtemp(prefix="onnxprune-"))
            finalize(self, rmtree, self._folder, ignore_errors=True)
        self._written += 1
        path = self._folder / str(self._written)
        value.tofile(path)
        return _Scratch(path, value.dtype, value.shape)


def _read(kept: Array | _Scratch) -> Array:
    return np.fromfile(kept.path, kept.dtype).reshape(kept.shape) if isinstance(kept, _Scratch) else kept
