"""What the outside of a model looks like: its inputs and outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output.

    `shape` holds an int for a fixed dimension and None for a symbolic one; `dtype` is a numpy dtype name.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class Narrowed:
    """What a cut left of one axis of an input or output: the places `kept` of the `size` that the original has."""

    axis: int
    size: int
    kept: tuple[int, ...]

    def of(self, value: NDArray[Any]) -> NDArray[Any]:
        """Return what of a value is left; one that is not as wide as the original's stays as it is."""
        if value.ndim <= self.axis or value.shape[self.axis] != self.size:
            return value
        return value.take(self.kept, self.axis)


Interface = Mapping[str, tuple[Narrowed, ...]]
"""By name of an input or output, what a cut left of its axes; names that are missing stay as they were."""


def fitted(feeds: Mapping[str, NDArray[Any]], interface: Interface) -> Mapping[str, NDArray[Any]]:
    """Return what a cut model takes of the inputs of its original; feeds that fit it already stay as they are."""
    if interface.keys().isdisjoint(feeds):
        return feeds
    return {name: narrowed(np.asarray(value), interface.get(name, ())) for name, value in feeds.items()}


def narrowed(value: NDArray[Any], left: Sequence[Narrowed]) -> NDArray[Any]:
    """Return what is left of the value of an input or output."""
    for axis in left:
        value = axis.of(value)
    return value


def shape_text(shape: Sequence[int | None]) -> str:
    """Return how messages write a shape."""
    return " x ".join("n" if size is None else str(size) for size in shape)
