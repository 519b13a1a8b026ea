"""The whole reading of a graph in one value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxprune.analysis.branches import lies_in
from onnxprune.analysis.groups import Components
from onnxprune.analysis.head import binding_freezes, head_group
from onnxprune.analysis.labels import Labelled
from onnxprune.graph.model import Graph
from onnxprune.values.axes import Axis, BoolArray, frozen_array
from onnxprune.values.branches import Branch, groups_of, left_out, unfit
from onnxprune.values.costs import CostTable
from onnxprune.values.groups import ChannelGroup


@dataclass(frozen=True, eq=False)
class Analysis:
    """What can be cut of a graph, and what follows from cutting it.

    `approximate` says whether channels that a normalisation runs over count as prunable, `interface` whether those of
    states that come in and go out do; `unread` which layers are in no group because nothing could be said of them, and
    why; `head` is the axis of the classes where it was opened; `branches` are what can be left out as a whole.
    """

    graph: Graph
    labelled: Labelled
    components: Components
    groups: tuple[ChannelGroup, ...]
    costs: CostTable
    approximate: bool = False
    interface: bool = False
    unread: tuple[str, ...] = ()
    head: Axis | None = None
    branches: tuple[Branch, ...] = ()

    @property
    def allowed(self) -> tuple[str, ...]:
        """What may be cut beside exact groups, in the words of `--allow`."""
        return ("approximate",) * self.approximate + ("interface",) * self.interface

    @property
    def free(self) -> tuple[ChannelGroup, ...]:
        """The groups that may lose channels, the opened head among them."""
        return tuple(group for group in self.groups if group.prunable)

    @cached_property
    def classes(self) -> ChannelGroup | None:
        """The group whose channels are the classes, where the head was opened: they go by name, never by score."""
        return None if self.head is None else head_group(self.groups, self.head)

    @property
    def prunable(self) -> tuple[ChannelGroup, ...]:
        """The groups that may lose channels by their scores."""
        return tuple(group for group in self.free if group is not self.classes)

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
        """Return the keep mask of every axis that loses positions; what lies in a branch that goes has none."""
        kept, gone = self.kept_components(keep), self._axes_left_out(keep)
        masks = {axis: kept[self.components.labels(axis)] for axis in self.components.axes if axis not in gone}
        return {axis: frozen_array(mask) for axis, mask in masks.items() if not mask.all()}

    def _axes_left_out(self, keep: Mapping[str, BoolArray]) -> frozenset[Axis]:
        """Return the axes of what nodes make and read that go with their branches."""
        nodes = {number for branch in left_out(self.branches, keep) for number in branch.nodes}
        return frozenset(axis for axis in self.components.axes if nodes and lies_in(self.graph, axis.ref, nodes))

    def emptied(self, groups: Iterable[str]) -> dict[str, BoolArray]:
        """Return the keep masks of groups that lose every channel."""
        return {name: np.zeros(self.by_name[name].size, dtype=bool) for name in sorted(groups)}

    def titles(self, branches: Iterable[Branch]) -> dict[str, tuple[str, ...]]:
        """Return by branch how messages name the nodes that go with it."""
        nodes = self.graph.nodes
        return {branch.name: tuple(nodes[number].title for number in branch.nodes) for branch in branches}

    @cached_property
    def renormalised(self) -> bool:
        """Whether a softmax runs over the classes of the opened head."""
        every = self.labelled.frozen_axes
        return len(binding_freezes(self.graph, self.components, every, self.head)) < len(every)

    def misfits(self, branches: Sequence[Branch]) -> tuple[str, ...]:
        """Return why branches cannot all be left out, or nothing."""
        return self.misfits_of(groups_of(branches))

    def misfits_of(self, gone: frozenset[str]) -> tuple[str, ...]:
        """Return why the groups `gone` cannot lose all channels, or nothing."""
        nodes = self.graph.nodes
        operands = {node: len(nodes[node].inputs) for branch in self.branches for node, _ in branch.joins}
        return tuple(unfit(self.branches, gone, operands)) if gone else ()

    def class_masks(self, masks: Mapping[Axis, BoolArray]) -> Mapping[Axis, BoolArray]:
        """Return what would be left of `masks` if the classes that go were all that goes."""
        if self.classes is None or self.classes.members[0].axis not in masks:
            return {}
        member = self.classes.members[0]
        return self.axis_masks({self.classes.name: masks[member.axis][member.positions[:, 0]]})

    def macs(self, keep: Mapping[str, BoolArray] | None = None) -> float:
        """Return the multiply-adds of one sample with these keep masks (None: nothing cut)."""
        return self.costs.macs_at(counts(keep or {}))

    def params(self, keep: Mapping[str, BoolArray] | None = None) -> float:
        """Return the number of weights with these keep masks (None: nothing cut)."""
        return self.costs.params_at(counts(keep or {}))


def counts(keep: Mapping[str, BoolArray]) -> dict[str, int]:
    """Return how many channels each mask keeps."""
    return {name: int(np.count_nonzero(mask)) for name, mask in keep.items()}
