"""The whole reading of a graph in one value."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onnxprune.analysis.costs import cost_table
from onnxprune.analysis.groups import Components, build_groups, connect
from onnxprune.analysis.labels import Frost, Labelled, Reading, label, read_facts
from onnxprune.analysis.sizes import frozen_by_sizes
from onnxprune.graph.model import Graph
from onnxprune.ops.facts import Tie
from onnxprune.values.axes import Axis, BoolArray, frozen_array
from onnxprune.values.costs import CostTable
from onnxprune.values.groups import ChannelGroup


@dataclass(frozen=True, eq=False)
class Analysis:
    """What can be cut of a graph, and what follows from cutting it.

    `approximate` says whether channels that a normalisation runs over count as prunable.
    """

    graph: Graph
    labelled: Labelled
    components: Components
    groups: tuple[ChannelGroup, ...]
    costs: CostTable
    approximate: bool = False

    @property
    def prunable(self) -> tuple[ChannelGroup, ...]:
        """The groups that may lose channels."""
        return tuple(group for group in self.groups if group.prunable)

    @cached_property
    def by_name(self) -> Mapping[str, ChannelGroup]:
        """The groups by name."""
        return {group.name: group for group in self.groups}

    def kept_components(self, keep: Mapping[str, BoolArray]) -> BoolArray:
        """Turn keep masks by group name into the kept components."""
        kept = np.ones(self.components.count, dtype=bool)
        for name, mask in keep.items():
            member = self.by_name[name].members[0]
            kept[self.components.labels(member.axis)[member.positions[:, 0]]] = mask
        return kept

    def axis_masks(self, keep: Mapping[str, BoolArray]) -> Mapping[Axis, BoolArray]:
        """Return the keep mask of every axis that loses positions."""
        kept = self.kept_components(keep)
        masks = {axis: kept[self.components.labels(axis)] for axis in self.components.axes}
        return {axis: frozen_array(mask) for axis, mask in masks.items() if not mask.all()}

    def macs(self, keep: Mapping[str, BoolArray] | None = None) -> float:
        """Return the multiply-adds of one sample with these keep masks (None: nothing cut)."""
        return self.costs.macs_at(counts(keep or {}))

    def params(self, keep: Mapping[str, BoolArray] | None = None) -> float:
        """Return the number of weights with these keep masks (None: nothing cut)."""
        return self.costs.params_at(counts(keep or {}))


def counts(keep: Mapping[str, BoolArray]) -> dict[str, int]:
    """Return how many channels each mask keeps."""
    return {name: int(np.count_nonzero(mask)) for name, mask in keep.items()}


def analyse(graph: Graph, *, approximate: bool = False) -> Analysis:
    """Read `graph`: labels, ties, freezes, groups and costs.

    With `approximate`, channels that a normalisation runs over may be cut as well.

    Where a reshape splits an axis in two (heads and head dimensions, groups and their columns), either factor could
    carry the channels, never both. The innermost is taken first; a factor further in that came too late, or another
    factor where the one taken turns out frozen, is tried and kept if it lets more MACs go.
    """
    reading = read_facts(graph)
    banned: frozenset[Tie] = frozenset()
    best = _attempt(reading, banned, approximate)
    for propose in (_overruled, _frozen_carriers):
        proposal = propose(best)
        if proposal - banned:
            trial = _attempt(reading, banned | proposal, approximate)
            if _halved(trial) < _halved(best):
                best, banned = trial, banned | proposal
    return best


def _attempt(reading: Reading, banned: frozenset[Tie], approximate: bool) -> Analysis:
    graph = reading.graph
    labelled = label(reading, banned)
    components = connect(labelled)
    frosts: tuple[Frost, ...] = (*labelled.frosts, *frozen_by_sizes(graph, labelled, components))
    labelled = replace(labelled, frosts=frosts)
    groups = build_groups(labelled, components, frosts, approximate=approximate)
    return Analysis(graph, labelled, components, groups, cost_table(graph, labelled, groups), approximate)


def _overruled(analysis: Analysis) -> frozenset[Tie]:
    return frozenset(analysis.labelled.overruled)


def _frozen_carriers(analysis: Analysis) -> frozenset[Tie]:
    """Return the alternatives that were taken in vain: whatever they carry is frozen."""
    frozen = np.zeros(analysis.components.count, dtype=bool)
    for frost in analysis.labelled.frosts:
        if frost.approximate and analysis.approximate:
            continue
        labels = analysis.components.labels(frost.axis)
        frozen[labels if frost.at is None else labels[frost.at]] = True
    index = analysis.components.index
    ends = {tie: tie.a if tie.a in index else tie.b for tie in analysis.labelled.carriers}
    return frozenset(tie for tie, end in ends.items() if bool(frozen[analysis.components.labels(end)].all()))


def _halved(analysis: Analysis) -> float:
    """Return the MACs left when every prunable group is halved."""
    return analysis.costs.macs_at({group.name: max(1, group.size // 2) for group in analysis.prunable})
