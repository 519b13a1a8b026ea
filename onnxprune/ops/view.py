"""What a rule sees of a node: operands with shapes and known values, and attributes.

Of what lies beyond the node it sees where indices come from alone, see `graph.coordinates`.
"""

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from onnxprune.graph.coordinates import Coordinate, Unpooling, coordinates, numbered_channels, places_within, unpooling
from onnxprune.graph.layers.quantized import Layout, layout
from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import Axis, IntArray, Ref

WIDEST = 1 << 26
"""Positions of an axis that are followed one by one."""


class RefusedError(Exception):
    """Raised by a rule that cannot speak of this node; its message becomes the reason of a freeze."""


class Sizes(tuple[int, ...]):
    """A shape; a rule that asks it for an axis that is not there cannot speak of the node."""

    __slots__ = ()

    @overload
    def __getitem__(self, index: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> int | tuple[int, ...]:
        """Return the size of an axis, or those of several."""
        try:
            return super().__getitem__(index)
        except IndexError:
            raise RefusedError(f"an operand has {len(self)} axes, which is too few") from None


@dataclass(frozen=True, eq=False)
class Operand:
    """One input or output of a node.

    `is_constant` says that it follows from constants alone; dequantized weights do, without a `value` of their own.
    """

    ref: Ref
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None
    value: NDArray[Any] | None
    fixed: NDArray[np.bool_] | None
    is_constant: bool

    @cached_property
    def shape(self) -> Sizes:
        """The shape with batch 1 and nominal free sizes.

        Raises:
            RefusedError: the shape could not be inferred, or it has no such axis.
        """
        if self.shapes is None:
            raise RefusedError(f"the shape of {self.ref.name!r} is unknown")
        if max(self.shapes[0], default=0) > WIDEST:
            raise RefusedError(f"{self.ref.name!r} has an axis of more than {WIDEST} positions")
        return Sizes(self.shapes[0])

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def is_static(self, axis: int) -> bool:
        """Whether the size of `axis` is a fixed number."""
        return self.shapes is not None and self.shapes[0][axis] == self.shapes[1][axis]

    def axis(self, index: int) -> Axis:
        """Return the axis `index`, which may be negative.

        Raises:
            RefusedError: there is no such axis.
        """
        if not -self.rank <= index < self.rank:
            raise RefusedError(f"{self.ref.name!r} has {self.rank} axes, which is too few")
        return Axis(self.ref, index % self.rank)

    def elements(self) -> list[int | None]:
        """Return the numbers of a list of integers, with None for those that depend on free sizes or the data."""
        if self.value is None or self.fixed is None:
            return [None] * math.prod(self.shape)
        return [int(n) if fixed else None for n, fixed in zip(self.value.flat, self.fixed.flat, strict=True)]

    def numbers(self) -> IntArray:
        """Return the value of a small integer operand.

        Raises:
            RefusedError: it is computed while the model runs.
        """
        if self.value is None or self.fixed is None or not bool(np.all(self.fixed)):
            raise RefusedError(f"{self.ref.name!r} is computed at run time")
        return np.asarray(self.value, dtype=np.int64).ravel()


class NodeView:
    """A node with its operands."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph, self._node = graph, node
        self.inputs = tuple(
            _operand(graph, name, node.index, slot) if name else None for slot, name in enumerate(node.inputs)
        )
        self._used = {
            name: [reader.op for reader in graph.readers.get(name, ())] + ["output"] * (name in graph.outputs)
            for name in node.outputs
            if name in graph.readers or name in graph.outputs
        }
        self.outputs = tuple(self._made(_operand(graph, name)) if name else None for name in node.outputs)

    def _made(self, output: Operand) -> Operand | None:
        """Take an output that nobody reads and whose shape onnx cannot tell (the old Dropout's mask) as omitted."""
        return output if output.ref.name in self._used or output.shapes is not None else None

    @property
    def op(self) -> str:
        """The op type."""
        return self._node.op

    @property
    def layout(self) -> Layout | None:
        """Which operands are data, scales and zero points, where this is a quantized op."""
        return layout(self._node.domain, self._node.op, self._node.inputs)

    def as_float(self, quantized: Layout) -> "NodeView":
        """Return the op on floats that this quantized op stands for, with the data alone for operands."""
        view = copy(self)
        view._node = replace(self._node, op=quantized.float_op, domain="", version=self.attr("opset", 13))
        view.inputs = tuple(self.inputs[data.slot] for data in quantized.data)
        return view

    @property
    def version(self) -> int:
        """The opset version of the node's domain."""
        return self._node.version

    def attr(self, name: str, default: Any = None) -> Any:
        """Return an attribute or its default."""
        return self._node.attrs.get(name, default)

    def parts(self, name: str, *sizes: int, default: int | None = None) -> int:
        """Return an attribute that says into how many equal parts these sizes are divided.

        Raises:
            RefusedError: it is not given, or they cannot be.
        """
        found = self.attr(name, default)
        if not isinstance(found, int) or found < 1 or any(size % found for size in sizes):
            raise RefusedError(f"its {name} is {found}, into which {' and '.join(map(str, sizes))} cannot be divided")
        return found

    def input(self, slot: int) -> Operand:
        """Return a required input.

        Raises:
            RefusedError: it is missing.
        """
        operand = self.optional(slot)
        if operand is None:
            raise RefusedError(f"input {slot} is missing")
        return operand

    def optional(self, slot: int) -> Operand | None:
        """Return an input, or None where it is omitted."""
        return self.inputs[slot] if slot < len(self.inputs) else None

    @property
    def output(self) -> Operand:
        """The first output."""
        operand = self.outputs[0]
        if operand is None:
            raise RefusedError("the first output is omitted")
        return operand

    def extra_output_used(self, but_by: str = "") -> bool:
        """Whether any output after the first is read by somebody (other than ops of the type `but_by`)."""
        names = {operand.ref.name for operand in self.outputs[1:] if operand is not None}
        return any(op != but_by for name in names & self._used.keys() for op in self._used[name])

    def coordinates(self, slot: int, depth: int) -> tuple[Coordinate | None, ...]:
        """Return the vectors that say the `depth` numbers of every index in input `slot`."""
        return coordinates(self._graph, self.input(slot).ref.name, depth)

    def unpooling(self) -> Unpooling | None:
        """Return what the indices of this scatter are made of, where they are places of a pooling."""
        return unpooling(self._graph, self._node)

    def numbered_channels(self) -> int | None:
        """Return how many channels this Range numbers that serves an unpooling alone."""
        return numbered_channels(self._graph, self._node)

    def places_within_channels(self) -> bool:
        """Whether the indices of this pooling serve as places within one channel alone."""
        return places_within(self._graph, self._node)

    def is_read(self, slot: int) -> bool:
        """Whether the output `slot` is read by somebody."""
        return slot < len(self.outputs) and self._node.outputs[slot] in self._used

    def weight(self, slot: int) -> Operand:
        """Return an input that must be known before the model runs.

        Raises:
            RefusedError: it is computed at run time.
        """
        operand = self.input(slot)
        if not operand.is_constant:
            raise RefusedError(f"its weight {operand.ref.name!r} is computed at run time")
        return operand

    def axes_argument(self, slot: int, rank: int, name: str = "axes") -> tuple[int, ...] | None:
        """Return the axes given as attribute (older opsets) or input `slot`, made non-negative; None if not given."""
        operand = self.optional(slot)
        if operand is not None:
            given = [int(axis) for axis in operand.numbers()]
        elif self.attr(name) is not None:
            given = list(self.attr(name))
        else:
            return None
        return tuple(axis % rank for axis in given)

    def __iter__(self) -> Iterator[Operand]:
        """Iterate over all operands that are there, inputs first."""
        return (operand for operand in (*self.inputs, *self.outputs) if operand is not None)


def _operand(graph: Graph, name: str, node: int = -1, slot: int = -1) -> Operand:
    known = graph.facts.known.get(name)
    ref = Ref(name, node, slot) if known is not None else Ref(name)
    if known is None:
        return Operand(ref, graph.facts.shape_pair(name), None, None, name in graph.constant_derived)
    shapes = (known.first.shape, known.second.shape)
    small = known.first.size <= 1 << 16
    return Operand(ref, shapes, known.first, known.fixed if small else None, known.is_constant)
