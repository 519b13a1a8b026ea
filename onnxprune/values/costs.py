"""What a network costs as a function of how many channels every group keeps: multiply-adds, parameters, their bytes.

These are exact: a layer's MACs are a fixed factor times the kept widths of its weight's axes, a constant's size is the
product of the kept widths of its axes, and a width falls by the group's multiplicity with every channel removed. The
latency is predicted, where something was given to predict it by.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from onnxprune.values.axes import Axis, FloatArray, IntArray

Kind: TypeAlias = Literal["macs", "params", "bytes", "latency"]
"""What is counted: multiply-adds of one sample, weights, bytes of the file, milliseconds for one sample."""

LatencyModel: TypeAlias = Callable[[FloatArray], float]
"""From the width of every axis to the milliseconds that one sample takes."""


@dataclass(frozen=True, eq=False)
class Term:
    """`factor` times the widths of the numbered `axes`; `node` is the node that pays, for tables by layer.

    With `needs`, what pays lies in a branch, and is gone where all these axes have no width left.
    """

    node: int
    factor: float
    axes: tuple[int, ...]
    needs: tuple[int, ...] = ()

    def at(self, widths: FloatArray) -> float:
        """Return the product where axes have these widths."""
        if self.needs and not any(widths[axis] for axis in self.needs):
            return 0.0
        value = self.factor
        for axis in self.axes:
            value *= float(widths[axis])
        return value


@dataclass(frozen=True, eq=False)
class CostTable:
    """Costs as sums of products of widths.

    Attributes:
        groups: names of the groups, in the order of the columns of `multiplicity`.
        sizes: channels of each group, [groups].
        widths: uncut width of each axis, [axes].
        multiplicity: positions that one channel of a group takes on an axis, [axes, groups].
        macs: terms of the multiply-adds of one sample.
        params: terms of the number of weights.
        bytes: terms of what these take in the file.
        given: how many channels groups keep that nobody has a choice of.
        others: by kind of cost what no width has a say in.
        numbers: which column of `widths` an axis has; axes that always change together share one.
        made: terms of the numbers that all nodes together write for one sample.
        latency_model: what predicts the latency.
        overlaps: (axis, group, group, positions) of groups that lie along two factors of an axis, by number: in how
            many positions a channel of one meets one of the other.
    """

    groups: tuple[str, ...]
    sizes: FloatArray
    widths: FloatArray
    multiplicity: FloatArray
    macs: tuple[Term, ...]
    params: tuple[Term, ...]
    given: Mapping[str, int] = field(default_factory=dict)
    bytes: tuple[Term, ...] = ()
    others: Mapping[Kind, float] = field(default_factory=dict)
    numbers: Mapping[Axis, int] = field(default_factory=dict)
    made: tuple[Term, ...] = ()
    latency_model: LatencyModel | None = None
    overlaps: tuple[tuple[int, int, int, int], ...] = ()

    @cached_property
    def whole(self) -> float:
        """The multiply-adds of one sample before anything goes, what is given included."""
        return self.whole_of("macs")

    def whole_of(self, kind: Kind) -> float:
        """Return a cost before anything goes, what is given included."""
        return self.at(kind, self.widths)

    def widths_at(self, counts: Mapping[str, int]) -> FloatArray:
        """Return the width of every axis when group `name` keeps `counts[name]` channels; absent: as given, or all."""
        counts = {**self.given, **counts}
        kept = np.asarray([counts.get(name, size) for name, size in zip(self.groups, self.sizes, strict=True)])
        lost = self.sizes - kept
        found = np.asarray(self.widths - self.multiplicity @ lost, dtype=np.float64)
        if self.overlaps:
            axes, a, b, positions = self._overlaps
            np.add.at(found, axes, positions * lost[a] * lost[b])  # what went by both was counted twice
        return found

    @cached_property
    def _overlaps(self) -> IntArray:
        return np.asarray(self.overlaps, dtype=np.int64).T

    def cost_at(self, kind: Kind, counts: Mapping[str, int]) -> float:
        """Return a cost at these counts."""
        return self.at(kind, self.widths_at(counts))

    def macs_at(self, counts: Mapping[str, int]) -> float:
        """Return the multiply-adds of one sample at these counts."""
        return self.cost_at("macs", counts)

    def params_at(self, counts: Mapping[str, int]) -> float:
        """Return the number of weights at these counts."""
        return self.cost_at("params", counts)

    def at(self, kind: Kind, widths: FloatArray) -> float:
        """Return a cost where axes have these widths."""
        if kind == "latency":
            return 0.0 if self.latency_model is None else self.latency_model(widths)
        return self._products[kind].total(widths) + self.others.get(kind, 0.0)

    @cached_property
    def _products(self) -> Mapping[Kind, "Products"]:
        terms: Mapping[Kind, tuple[Term, ...]] = {"macs": self.macs, "params": self.params, "bytes": self.bytes}
        return {kind: Products(found, len(self.widths)) for kind, found in terms.items()}

    def neighbours(self, name: str) -> tuple[str, ...]:
        """Return the groups whose channels change in cost with the width of group `name`, itself included."""
        return self._neighbours[name]

    @cached_property
    def _neighbours(self) -> Mapping[str, tuple[str, ...]]:
        reached = self.multiplicity > 0
        found: dict[str, set[str]] = {name: {name} for name in self.groups}
        for term in (*self.macs, *self.params):
            columns = np.flatnonzero(reached[list(term.axes)].any(axis=0)) if term.axes else ()
            together = [self.groups[column] for column in columns]
            for name in together:
                found[name].update(together)
        return {name: tuple(sorted(others)) for name, others in found.items()}

    def layer_macs(self, counts: Mapping[str, int]) -> Mapping[int, float]:
        """Return the multiply-adds by node number."""
        widths = self.widths_at(counts)
        found: dict[int, float] = {}
        for term in self.macs:
            found[term.node] = found.get(term.node, 0.0) + term.at(widths)
        return found


NO_COSTS = CostTable((), np.zeros(0), np.zeros(0), np.zeros((0, 0)), (), ())
"""Of what nothing is known."""


class Products:
    """Terms as arrays, for sums that are asked for thousands of times."""

    def __init__(self, terms: tuple[Term, ...], axes: int) -> None:
        """Take terms of so many axes."""
        longest = max((len(term.axes) for term in terms), default=0)
        self._factors = np.array([term.factor for term in terms])
        # Shorter products are filled up with an axis behind the last, whose width is 1.
        self._axes = np.full((len(terms), longest), axes, dtype=np.int64)
        for row, term in enumerate(terms):
            self._axes[row, : len(term.axes)] = term.axes
        self._needs = tuple((row, list(term.needs)) for row, term in enumerate(terms) if term.needs)

    def total(self, widths: FloatArray) -> float:
        """Return the sum of the products of some widths."""
        products = self._factors * np.append(widths, 1.0)[self._axes].prod(axis=1)
        if not widths.all():  # some branch may be gone
            products[[row for row, axes in self._needs if not widths[axes].any()]] = 0.0
        return float(products.sum())
