"""What free sizes of inputs are taken for, and a search for sizes that the graph accepts.

Every free size has two trials, see `propagate`. Some graphs say that a size is free and then take one alone (a text
recogniser that pools lines of height 48 to height 1). Where the trials contradict the graph, others are tried, and what
only one size suits is taken as fixed.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from onnxprune.graph.storage.weights import is_external, named_tensors

BATCH, OTHER = (1, 2), (64, 96)
"""What a free size is in the two trials: the batch (axis 0) and any other axis."""

COMMON = (32, 48, 64, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384, 416, 448, 512, 640)
"""Sizes that many networks are made for."""

_SMALLEST = 8
"""Sizes below it are tried last, and only where the graph names them."""

_FEW = 8
"""A constant with no more numbers than these may name a size."""

_WORK = 40_000
"""Nodes that a search may visit."""

Symbol = str | tuple[str, int]
"""A free size: its name, or where it has none, input and axis."""

InputShapes = Mapping[str, Sequence[int | None]]
"""Sizes by input; what is None is free."""


@dataclass(frozen=True)
class Trials:
    """Two values for every free size: `batch` on axis 0, what `given` says by symbol, and `OTHER`."""

    batch: tuple[int, int] = BATCH
    given: Mapping[Symbol, tuple[int, int]] = field(default_factory=dict)

    def size(self, symbol: Symbol, axis: int, trial: int) -> int:
        """Return the value of a free size in a trial."""
        return self.given.get(symbol, self.batch if axis == 0 else OTHER)[trial]

    def fixed(self, sizes: Mapping[Symbol, int]) -> "Trials":
        """Return the trials with these sizes taken as fixed."""
        return replace(self, given={**self.given, **{symbol: (size, size) for symbol, size in sizes.items()}})

    def as_in(self, other: "Trials", symbol: Symbol) -> "Trials":
        """Return the trials with one size as others have it."""
        rest = {name: pair for name, pair in self.given.items() if name != symbol}
        return replace(self, given={**rest, **({symbol: other.given[symbol]} if symbol in other.given else {})})


def is_free(dim: onnx.TensorShapeProto.Dimension) -> bool:
    """Whether a size is left free; some exporters write -1 for that."""
    return not dim.HasField("dim_value") or dim.dim_value < 0


def free_sizes(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> Iterator[tuple[Symbol, str, int]]:
    """Yield the free sizes of the inputs with input and axis."""
    for value in model.graph.input:
        if value.name not in constants:
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                if is_free(dim):
                    yield dim.dim_param or (value.name, axis), value.name, axis


def given_sizes(model: onnx.ModelProto, constants: Mapping[str, np.ndarray], shapes: InputShapes) -> dict[Symbol, int]:
    """Return what shapes say of the free sizes; the batch stays free."""
    found: dict[Symbol, int] = {}
    for symbol, name, axis in free_sizes(model, constants):
        size = shapes.get(name, ())[axis] if axis < len(shapes.get(name, ())) else None
        if axis and size is not None:
            found.setdefault(symbol, size)
    return found


def candidates(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Return sizes to try: common ones, multiples of what the graph's small constants and kernels name, and these."""
    named: set[int] = set()
    for value in _written(model, constants):
        if value.dtype.kind in "iu" and value.size <= _FEW:
            named.update(value.ravel().tolist())
    for node in model.graph.node:
        named.update(n for a in node.attribute if a.name == "kernel_shape" for n in a.ints)
    scaled = {n * factor for n in named if 1 < n <= COMMON[-1] for factor in (1, 2, 4, 8, 16, 32)}
    large = sorted(size for size in scaled - {*COMMON} if _SMALLEST <= size <= COMMON[-1])
    return (*COMMON, *large, *sorted(n for n in named if 1 < n < _SMALLEST))


def _written(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the values of constants, and of small Constant nodes."""
    yield from constants.values()
    for name, tensor in named_tensors(model.graph).items():
        if name not in constants and math.prod(tensor.dims) <= _FEW and not is_external(tensor):
            yield onnx.numpy_helper.to_array(tensor)


def search(
    trials: Trials,
    start: Trials,
    symbols: Sequence[Symbol],
    sizes: Sequence[int],
    faults: Callable[[Trials], int],
    nodes: int,
) -> Trials:
    """Return trials that contradict the graph as little as can be.

    First all sizes alike, then one after the other; what need not be fixed in the end is as free as it was.

    Args:
        trials: what the graph contradicts.
        start: what to begin with.
        symbols: the free sizes that may be taken as fixed.
        sizes: what they may be.
        faults: how many nodes contradict trials.
        nodes: how many there are.
    """
    left = max(8, _WORK // max(1, nodes))
    best, fewest = start, faults(start)

    def attempt(other: Trials) -> None:
        nonlocal best, fewest, left
        if left > 0 and fewest:
            left -= 1
            found = faults(other)
            if found < fewest:
                best, fewest = other, found

    for size in sizes:
        attempt(start.fixed(dict.fromkeys(symbols, size)))
    for symbol in symbols if len(symbols) > 1 else ():
        base = best
        for size in sizes:
            attempt(base.fixed({symbol: size}))
    for symbol in symbols:
        released = best.as_in(trials, symbol)
        if released != best and faults(released) <= fewest:
            best = released
    return best
