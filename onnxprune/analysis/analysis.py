"""The whole reading of a graph in one value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from onnxprune.analysis.branches import lies_in
from onnxprune.analysis.groups import Components
from onnxprune.analysis.head import binding_freezes, head_group
from onnxprune.analysis.labels import Labelled
from onnxprune.graph.model import Graph
from onnxprune.ops.facts import Count, Pin, Renumber, Sums
from onnxprune.values.axes import Axis, BoolArray, IntArray, frozen_array
from onnxprune.values.branches import Branch, groups_of, left_out, unfit
from onnxprune.values.brief import brief
from onnxprune.values.costs import CostTable
from onnxprune.values.groups import ChannelGroup, Member


@dataclass(frozen=True, eq=False)
class Labelling:
    """One way to label the axes, the channels that it tells apart, and the names of the groups that are of these."""

    labelled: Labelled
    components: Components
    groups: frozenset[str]

    def channels(self, group: ChannelGroup) -> IntArray:
        """Return the components that are the channels of a group."""
        member = group.members[0]
        return self.components.labels(member.axis)[member.positions[:, 0]]

    def reached(self, groups: Iterable[ChannelGroup]) -> BoolArray:
        """Return which components are channels of those among some groups that are of this labelling."""
        found = np.zeros(self.components.count, dtype=bool)
        for group in groups:
            if group.name in self.groups:
                found[self.channels(group)] = True
        return found

    def masks(self, keep: Mapping[str, BoolArray], groups: Mapping[str, ChannelGroup]) -> Mapping[Axis, BoolArray]:
        """Return the keep mask of every axis that loses positions by the groups of this labelling."""
        mine = self.groups & keep.keys()
        if not mine:
            return {}
        kept = np.ones(self.components.count, dtype=bool)
        for name in mine:
            kept[self.channels(groups[name])] = keep[name]
        masks = {axis: kept[self.components.labels(axis)] for axis in self.components.axes}
        return {axis: mask for axis, mask in masks.items() if not mask.all()}

    def alone(self, axis: Axis, mask: BoolArray) -> BoolArray:
        """Return what a keep mask would be, were the channels of this labelling all that goes: a row stays whole."""
        labels = self.components.labels(axis)
        kept = np.zeros(self.components.count, dtype=bool)
        kept[labels[mask]] = True
        return kept[labels]


@brief
@dataclass(frozen=True, eq=False)
class Analysis:
    """What can be cut of a graph, and what follows from cutting it.

    `approximate` says whether channels that a normalisation runs over count as prunable, `interface` whether those of
    states that come in and go out do; `unread` which layers are in no group because nothing could be said of them, and
    why; `head` is the axis of the classes where it was opened; `branches` are what can be left out as a whole.
    `others` are the labellings by other factors of the same axes, with groups of their own, see `other_factors`.
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
    others: tuple[Labelling, ...] = ()

    @cached_property
    def labellings(self) -> tuple[Labelling, ...]:
        """All labellings, the first one with the groups that are of no other."""
        elsewhere = {name for other in self.others for name in other.groups}
        own = frozenset(group.name for group in self.groups if group.name not in elsewhere)
        return (Labelling(self.labelled, self.components, own), *self.others)

    @cached_property
    def lying(self) -> Mapping[Axis, tuple[tuple[int, ChannelGroup, Member], ...]]:
        """What lies on every axis of the groups that can be cut, with the number of the labelling that they are of."""
        found: dict[Axis, list[tuple[int, ChannelGroup, Member]]] = {}
        for number, labelling in enumerate(self.labellings):
            for group in self.free:
                for member in group.members if group.name in labelling.groups else ():
                    found.setdefault(member.axis, []).append((number, group, member))
        return {axis: tuple(members) for axis, members in found.items()}

    @cached_property
    def sizes(self) -> Mapping[Axis, int]:
        """How many labels every axis has that any labelling reaches."""
        return {axis: size for each in reversed(self.labellings) for axis, size in each.labelled.sizes.items()}

    @cached_property
    def sums(self) -> tuple[tuple[Sums, int], ...]:
        """What adds up over axes, by all labellings, with the numbers of the nodes."""
        return _together(each.labelled.sums for each in self.labellings)

    @cached_property
    def renumbers(self) -> tuple[tuple[Renumber, int], ...]:
        """The tables that point at positions, by all labellings, with the numbers of the nodes."""
        return _together(each.labelled.renumbers for each in self.labellings)

    @cached_property
    def pins(self) -> tuple[tuple[Pin, int], ...]:
        """The attributes that stand for widths, by all labellings, with the numbers of the nodes."""
        return _together(each.labelled.pins for each in self.labellings)

    @cached_property
    def counts(self) -> tuple[tuple[Count, int, Labelling], ...]:
        """The numbers that carry sizes, with the numbers of the nodes and the first labelling that they hold in."""
        found: dict[tuple[Count, int], Labelling] = {}
        for each in self.labellings:
            for fact in each.labelled.counts:
                found.setdefault(fact, each)
        return tuple((*fact, each) for fact, each in found.items())

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

    def axis_masks(self, keep: Mapping[str, BoolArray]) -> Mapping[Axis, BoolArray]:
        """Return the keep mask of every axis that loses positions; what lies in a branch that goes has none."""
        gone = self._axes_left_out(keep)
        masks: dict[Axis, BoolArray] = {}
        for labelling in self.labellings:
            for axis, mask in labelling.masks(keep, self.by_name).items():
                if axis not in gone:
                    masks[axis] = masks[axis] & mask if axis in masks else mask
        return {axis: frozen_array(mask) for axis, mask in masks.items()}

    def _axes_left_out(self, keep: Mapping[str, BoolArray]) -> frozenset[Axis]:
        """Return the axes of what nodes make and read that go with their branches."""
        nodes = {number for branch in left_out(self.branches, keep) for number in branch.nodes}
        return frozenset(axis for axis in self.sizes if nodes and lies_in(self.graph, axis.ref, nodes))

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


_Fact = TypeVar("_Fact", Sums, Renumber, Pin)


def _together(found: Iterable[tuple[tuple[_Fact, int], ...]]) -> tuple[tuple[_Fact, int], ...]:
    """Return all of them, each once."""
    return tuple(dict.fromkeys(fact for facts in found for fact in facts))


def counts(keep: Mapping[str, BoolArray]) -> dict[str, int]:
    """Return how many channels each mask keeps."""
    return {name: int(np.count_nonzero(mask)) for name, mask in keep.items()}
