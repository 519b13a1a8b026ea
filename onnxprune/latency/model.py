"""What was timed of a network on a device, and what that says of its latency at other widths.

A layer was timed alone at a few widths of the axes of its weight; in between it is interpolated, and where a wider
layer is faster, the narrower one counts as that. A whole network takes more than its layers: the rest follows, by least
squares with no negative weights, from whole networks that were timed at several widths: a factor for the layers, a
constant, so much for every number that its nodes write, so much for every multiply-add of what was not timed alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import nnls

from onnxprune.values.axes import FloatArray
from onnxprune.values.costs import CostTable, Products


@dataclass(frozen=True, eq=False)
class LayerTimes:
    """A layer's times.

    Attributes:
        node: its number in the model.
        name: its title.
        axes: columns of the widths of its weight's two axes; None: a width that does not change.
        widths: of the two axes that were timed, rising.
        times: milliseconds, [widths of the first axis, widths of the second].
    """

    node: int
    name: str
    axes: tuple[int | None, int | None]
    widths: tuple[FloatArray, FloatArray]
    times: FloatArray

    @cached_property
    def least(self) -> FloatArray:
        """The times, no wider layer being faster, [widths, widths]."""
        found = self.times
        for axis in (0, 1):
            found = np.flip(np.minimum.accumulate(np.flip(found, axis), axis), axis)
        return found

    def at(self, widths: FloatArray, block: int, *, measured: bool = False) -> float:
        """Return the milliseconds at the widths of all axes.

        Args:
            widths: of every axis, [axes].
            block: channels that fill one block of the kernels, to which widths count as filled up.
            measured: as it was timed, even where a wider layer is faster.
        """
        first, second = (1.0 if axis is None else _filled(float(widths[axis]), block) for axis in self.axes)
        table = self.times if measured else self.least
        rows = [np.interp(second, self.widths[1], row) for row in table]
        return float(np.interp(first, self.widths[0], rows))


def _filled(width: float, block: int) -> float:
    return width if width <= block else block * float(np.ceil(width / block))


@dataclass(frozen=True)
class Whole:
    """A whole network's latency: how many channels groups kept, milliseconds, and their 10th and 90th percentile."""

    kept: Mapping[str, int]
    median: float
    p10: float
    p90: float


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """What was timed on a device.

    Attributes:
        model: digest of the model.
        machine: what the timings depend on, in words.
        threads: of the runtime; None: its choice.
        block: channels that fill one block of the device's kernels.
        slow: widths below one block that are slower than a wider one.
        layers: their times.
        wholes: whole networks' times, the uncut one first.
        noise: median over all timings of (90th - 10th percentile) / median.
    """

    model: str
    machine: Mapping[str, Any]
    threads: int | None
    block: int
    slow: tuple[int, ...]
    layers: tuple[LayerTimes, ...]
    wholes: tuple[Whole, ...]
    noise: float

    @property
    def device(self) -> str:
        """The machine in words."""
        threads = "default threads" if self.threads is None else f"{self.threads} thread{'s' * (self.threads != 1)}"
        return f"{self.machine.get('processor', 'unknown')}, {threads}, onnxruntime {self.machine.get('onnxruntime')}"

    def clock(self, costs: CostTable) -> "Foretold":
        """Return what foretells the latency of the network whose costs these are."""
        timed = {layer.node for layer in self.layers}
        untimed = tuple(term for term in costs.macs if term.node not in timed)
        axes = len(costs.widths)
        found = Foretold(self, Products(costs.made, axes), Products(untimed, axes), np.zeros(4))
        rows = np.asarray([found.parts(costs.widths_at(whole.kept)) for whole in self.wholes])
        medians = np.asarray([whole.median for whole in self.wholes])
        # Relative errors count, and the scale of the columns does not.
        scale = np.maximum(rows.max(axis=0), 1e-12)
        weights, _ = nnls(rows / scale / medians[:, None], np.ones(len(medians)))
        return replace(found, weights=weights / scale)


@dataclass(frozen=True, eq=False)
class Foretold:
    """From the widths of all axes to milliseconds.

    Attributes:
        table: what was timed.
        made: the numbers that all nodes write.
        untimed: the multiply-adds of what was not timed alone.
        weights: of the parts of a latency, see `parts`, [4].
    """

    table: LatencyTable
    made: Products
    untimed: Products
    weights: FloatArray

    def parts(self, widths: FloatArray) -> FloatArray:
        """Return the time of the layers, 1, the numbers that are written, and the multiply-adds not timed, [4]."""
        layers = sum(self._layer(number, widths) for number in range(len(self.table.layers)))
        return np.asarray([layers, 1.0, self.made.total(widths), self.untimed.total(widths)])

    def __call__(self, widths: FloatArray) -> float:
        """Return the milliseconds of one sample."""
        return float(self.weights @ self.parts(widths))

    def _layer(self, number: int, widths: FloatArray) -> float:
        layer = self.table.layers[number]
        key = (number, *(None if axis is None else float(widths[axis]) for axis in layer.axes))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = layer.at(widths, self.table.block)
        return found

    @cached_property
    def _known(self) -> dict[tuple[Any, ...], float]:
        return {}

    def barred(self, costs: CostTable, name: str, widths: Sequence[int]) -> frozenset[int]:
        """Return those of a group's widths, rising, at which its layers are slower than at a wider one.

        All other groups are whole; `SLOWER` tells slower from noise.
        """
        column = costs.groups.index(name)
        mine = [
            layer
            for layer in self.table.layers
            if any(axis is not None and costs.multiplicity[axis, column] for axis in layer.axes)
        ]
        taken = [
            sum(layer.at(costs.widths_at({name: width}), self.table.block, measured=True) for layer in mine)
            for width in widths
        ]
        found, best = set(), float("inf")
        for width, time in zip(reversed(widths), reversed(taken), strict=True):
            if time > SLOWER * best:
                found.add(width)
            best = min(best, time)
        return frozenset(found)


SLOWER = 1.03
"""Times as much as this count as slower, and not as noise."""


PROBED = (13, 14, 16, 21, 22, 24, 30, 32, 37, 38, 40, 45, 46, 48, 50, 52, 61, 62, 64)
"""Widths that tell how many channels fill one block: some odd ones, and those that these may be filled up to."""

SMALL = (4, 8, 12)
"""Narrower widths that are tried, in case that they are slower than a whole block."""

BLOCKS = (1, 2, 4, 8, 16, 32)

FREE = 1.05
"""Times as much, in the mean, that filling up to a block may cost."""


def block_of(sweeps: Sequence[Mapping[int, float]]) -> tuple[int, frozenset[int]]:
    """Return how many channels fill one block of the kernels, and which narrower widths are not worth choosing.

    The block is the largest that layers can be filled up to without being slower, in the mean over what was timed.

    Args:
        sweeps: layers' times by width, at `PROBED` and `SMALL`.
    """

    def filled_up(block: int) -> float:
        ratios = [
            sweep[block * -(-width // block)] / time
            for sweep in sweeps
            for width, time in sweep.items()
            if width in PROBED and width % 2 and block * -(-width // block) in sweep
        ]
        return float(np.mean(np.maximum(ratios, 1.0)))  # a width that is slow by itself must not pay for others

    block = max(block for block in BLOCKS if block == 1 or filled_up(block) <= FREE)
    tried = [width for width in SMALL if width < block and block % 4 == 0 and width % (block // 4) == 0]
    worth = {
        width
        for width in tried
        if all(
            sweep[width] <= SLOWER * min(sweep[wider] for wider in (*tried, block) if wider > width) for sweep in sweeps
        )
    }
    return block, frozenset(range(1, block)) - worth
