"""What an op's builder is told of the place where it stands, and the table of builders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from onnxprune.graph.model import Node
from onnxprune.registry import Registry

Array = NDArray[Any]
Value: TypeAlias = torch.Tensor | None
"""A tensor, or nothing where an optional input is left out."""

Run: TypeAlias = Callable[..., Any]
"""Takes the node's inputs as tensors and returns its output, or a tuple where it has several."""


@dataclass(frozen=True)
class ByMode:
    """A `Run` that is told first, whenever it runs, whether statistics of the batch are wanted.

    A module tells its own mode, so that a copy of it does not follow the original's.
    """

    run: Run

    def __call__(self, *values: Any) -> Any:
        """Run."""
        return self.run(*values)


@dataclass(frozen=True, eq=False)
class Site:
    """One node with what is known before the model runs.

    Attributes:
        node: the node.
        constants: by input the value, where it is the same in every run; None elsewhere.
        ranks: by input the number of axes, where it is known.
    """

    node: Node
    constants: Sequence[Array | None]
    ranks: Sequence[int | None]

    @property
    def version(self) -> int:
        """Of the node's operator set."""
        return self.node.version

    def attr(self, name: str, default: Any = None) -> Any:
        """Return an attribute; bytes as text."""
        value = self.node.attrs.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def has(self, slot: int) -> bool:
        """Whether the node has this input."""
        return slot < len(self.node.inputs) and bool(self.node.inputs[slot])

    def constant(self, slot: int) -> Array | None:
        """Return the value of an input if it is known."""
        return self.constants[slot] if self.has(slot) else None

    def rank(self, slot: int) -> int:
        """Return the number of axes of an input.

        Raises:
            UnsupportedError: it is not known.
        """
        found = self.ranks[slot] if self.has(slot) else None
        if found is None:
            raise self.refusal(f"the rank of its input {slot} is not known")
        return found

    def ints(self, slot: int) -> Callable[[Value], list[int]]:
        """Return what reads an input of whole numbers: what is known is read once, here."""
        known = self.constant(slot)
        if known is None:
            return lambda value: [] if value is None else [int(number) for number in value.reshape(-1).tolist()]
        fixed = [int(number) for number in known.reshape(-1)]
        return lambda _: fixed

    def floats(self, slot: int) -> Callable[[Value], list[float]]:
        """Return what reads an input of numbers: what is known is read once, here."""
        known = self.constant(slot)
        if known is None:
            return lambda value: [] if value is None else [float(number) for number in value.reshape(-1).tolist()]
        fixed = [float(number) for number in known.reshape(-1)]
        return lambda _: fixed

    def refusal(self, why: str) -> "UnsupportedError":
        """Return the error that names this node."""
        return UnsupportedError(self.node, why)


class UnsupportedError(Exception):
    """A node that cannot be trained through."""

    def __init__(self, node: Node, why: str) -> None:
        super().__init__(f"{node.title}: {why}")
        self.node, self.why = node, why


Builder: TypeAlias = Callable[[Site], Run]

OPERATORS: Registry[Builder] = Registry("operator", __package__)
"""Builders by op type (behind its domain where that is not the standard one)."""


def operator(*ops: str) -> Callable[[Builder], Builder]:
    """Register what builds these ops."""
    return OPERATORS.register(*ops)


def at_axis(axis: int, rank: int) -> int:
    """Return a non-negative axis."""
    return axis + rank if axis < 0 else axis


def to_numpy(value: torch.Tensor) -> Array:
    """Return the value of a tensor wherever it lies."""
    return np.asarray(value.detach().cpu())
