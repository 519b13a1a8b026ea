"""What a Relu or Clip behind a layer leaves of its errors: where both values are cut off at the same side, none.

The squared error behind such an activation is not convex in the weights. What is minimised instead lies above it and
is: a value that the original cuts off may lie anywhere beyond the limit, all others have to be met. Minimising it
needs no more than the same least squares again, with targets moved to where the last solution has gone beyond a limit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.graph.model import Graph, Node
from onnxprune.recovery.ridge import Change, Moments

Array = NDArray[Any]

STEPS = 8
"""Solutions with moved targets at most; more gave nothing."""

GAIN = 0.02
"""Share of the error on samples that judge by which a further one has to better it."""

MOST_PRODUCTS = 1 << 31
"""Most multiply-adds of rows with weights in one step; a larger layer keeps its plain solution."""

MOST_ELEMENTS = 1 << 25
"""Most inputs of all rows together that are held."""


@dataclass(frozen=True)
class ActivationRange:
    """The values that an activation passes on as they are, from `low` to `high`."""

    low: float
    high: float

    def aim(self, truth: Array, found: Array) -> Array:
        """Return the values nearest to `found` that count as right where `truth` is."""
        beyond = np.where(truth <= self.low, np.minimum(found, self.low), truth)
        return np.where(truth >= self.high, np.maximum(found, self.high), beyond)


def find_activation_range(graph: Graph, tensor: str) -> ActivationRange | None:
    """Return the range in which a tensor's value matters to all that read it, or None where every value may."""
    intervals = [_range_passed_by(graph, reader, tensor) for reader in graph.readers.get(tensor, ())]
    if not intervals or tensor in graph.outputs or any(interval is None for interval in intervals):
        return None
    found = [interval for interval in intervals if interval is not None]
    return ActivationRange(min(interval.low for interval in found), max(interval.high for interval in found))


def _range_passed_by(graph: Graph, reader: Node, tensor: str) -> ActivationRange | None:
    if reader.domain or reader.inputs[0] != tensor:
        return None
    if reader.op == "Relu":
        return ActivationRange(0.0, np.inf)
    if reader.op != "Clip":
        return None
    limits = [reader.attrs.get("min", -np.inf), reader.attrs.get("max", np.inf)]
    for place, name in enumerate(reader.inputs[1:3]):
        if name:
            known = graph.facts.known.get(name)
            if known is None or not known.is_constant:
                return None
            limits[place] = float(known.first)
    return ActivationRange(*limits)


@dataclass(frozen=True, eq=False)
class TargetRows:
    """Sampled places of a layer: inputs [rows, groups, inputs], and its target [rows, channels] as it should be and is.

    Attributes:
        slope: what one unit of the layer's output adds to the target, [channels].
    """

    x: Array
    truth: Array
    found: Array
    slope: Array

    def wanted(self, change: Change | None = None, interval: ActivationRange | None = None) -> Array:
        """Return what the layer's output lacks, [rows, groups, outputs], behind a change and with regard to a range."""
        truth = self.truth
        if change is not None and interval is not None:
            truth = interval.aim(truth, self._behind(change))
        return self._by_group((truth - self.found) / self.slope)

    def error(self, change: Change | None, interval: ActivationRange | None) -> float:
        """Return the sum of the squared errors of the target, as far as they count."""
        found = self.found if change is None else self._behind(change)
        truth = self.truth if interval is None else interval.aim(self.truth, found)
        return float(np.square(truth - found, dtype=np.float64).sum())

    def _behind(self, change: Change) -> Array:
        weight, bias = (part.astype(np.float32) for part in (change.weight, change.bias))
        added = (self.x.transpose(1, 0, 2) @ weight).transpose(1, 0, 2) + bias
        return np.asarray(self.found + added.reshape(self.found.shape) * self.slope)

    def _by_group(self, values: Array) -> Array:
        groups = self.x.shape[1]
        return values.astype(np.float32, copy=False).reshape(len(values), groups, values.shape[1] // groups)

    @staticmethod
    def joined(parts: Sequence["TargetRows"]) -> "TargetRows":
        """Return the rows of all parts."""
        x, truth, found = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "truth", "found"))
        return TargetRows(x, truth, found, parts[0].slope)

    def __getitem__(self, chosen: NDArray[np.bool_] | slice) -> "TargetRows":
        """Return some of the rows."""
        return replace(self, x=self.x[chosen], truth=self.truth[chosen], found=self.found[chosen])


def descend(
    system: Moments, rows: TargetRows, change: Change, ridge: float, interval: ActivationRange, *, biased: bool
) -> Iterator[Change]:
    """Go on from the plain solution of `rows` towards the least error that counts (Nesterov's steps), step by step."""
    before = change
    for step in range(STEPS):
        momentum = step / (step + 3)
        ahead = Change(
            change.weight + momentum * (change.weight - before.weight),
            change.bias + momentum * (change.bias - before.bias),
        )
        before = change
        change = system.aimed_at(rows.x, rows.wanted(ahead, interval)).solve(ridge, biased=biased)
        yield change
