"""What a network costs as a function of how many channels every group keeps: multiply-adds and parameters.

Both are exact: a layer's MACs are a fixed factor times the kept widths of its weight's axes, a constant's size is the
product of the kept widths of its axes, and a width falls by the group's multiplicity with every channel removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from onnxprune.values.axes import FloatArray


@dataclass(frozen=True, eq=False)
class Term:
    """`factor` times the widths of the numbered `axes`; `node` is the node that pays, for tables by layer."""

    node: int
    factor: float
    axes: tuple[int, ...]


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
        given: how many channels groups keep that nobody has a choice of.
    """

    groups: tuple[str, ...]
    sizes: FloatArray
    widths: FloatArray
    multiplicity: FloatArray
    macs: tuple[Term, ...]
    params: tuple[Term, ...]
    given: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def whole(self) -> float:
        """The multiply-adds of one sample before anything goes, what is given included."""
        return _total(self.macs, self.widths)

    def widths_at(self, counts: Mapping[str, int]) -> FloatArray:
        """Return the width of every axis when group `name` keeps `counts[name]` channels; absent: as given, or all."""
        counts = {**self.given, **counts}
        kept = np.asarray([counts.get(name, size) for name, size in zip(self.groups, self.sizes, strict=True)])
        return np.asarray(self.widths - self.multiplicity @ (self.sizes - kept), dtype=np.float64)

    def macs_at(self, counts: Mapping[str, int]) -> float:
        """Return the multiply-adds of one sample at these counts."""
        return _total(self.macs, self.widths_at(counts))

    def params_at(self, counts: Mapping[str, int]) -> float:
        """Return the number of weights at these counts."""
        return _total(self.params, self.widths_at(counts))

    def neighbours(self, name: str) -> tuple[str, ...]:
        """Return the groups whose channels change in cost with the width of group `name`, itself included."""
        return self._neighbours[name]

    @cached_property
    def _neighbours(self) -> Mapping[str, tuple[str, ...]]:
        reached = self.multiplicity > 0
        found: dict[str, set[str]] = {name: {name} for name in self.groups}
        for term in self.macs:
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
            found[term.node] = found.get(term.node, 0.0) + _value(term, widths)
        return found


def _value(term: Term, widths: FloatArray) -> float:
    value = term.factor
    for axis in term.axes:
        value *= float(widths[axis])
    return value


def _total(terms: tuple[Term, ...], widths: FloatArray) -> float:
    return float(sum(_value(term, widths) for term in terms))
