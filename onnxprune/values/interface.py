"""What the outside of a model looks like: its inputs and outputs."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output.

    `shape` holds an int for a fixed dimension and None for a symbolic one; `dtype` is a numpy dtype name.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


def shape_text(shape: Sequence[int | None]) -> str:
    """Return how messages write a shape."""
    return " x ".join("n" if size is None else str(size) for size in shape)
