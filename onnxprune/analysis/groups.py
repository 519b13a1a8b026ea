"""Channels as connected components of the ties, and groups of channels that are alike."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from onnxprune.analysis.labels import FrozenAxis, Labelled
from onnxprune.values.axes import Axis, BoolArray, IntArray, frozen_array
from onnxprune.values.groups import ChannelGroup, Member, Role


@dataclass(frozen=True, eq=False)
class Components:
    """Every labelled position as a number: `starts[axis]` is where an axis begins, `of[label]` is its component."""

    axes: tuple[Axis, ...]
    starts: IntArray
    of: IntArray
    count: int
    index: Mapping[Axis, int]

    def labels(self, axis: Axis) -> IntArray:
        """Return the component of every position of `axis`."""
        place = self.index[axis]
        return self.of[self.starts[place] : self.starts[place + 1]]

    def axis_of(self, labels: IntArray) -> IntArray:
        """Return the number of the axis that each label lies on."""
        return np.searchsorted(self.starts, labels, side="right").astype(np.int64) - 1


def connect(labelled: Labelled) -> Components:
    """Find the connected components of the ties in `labelled`."""
    axes = tuple(labelled.sizes)
    starts = np.concatenate([[0], np.cumsum([labelled.sizes[axis] for axis in axes])]).astype(np.int64)
    index = {axis: place for place, axis in enumerate(axes)}
    loose = Components(axes, frozen_array(starts), np.zeros(0, dtype=np.int64), 0, index)
    count, of = connected_components(tie_matrix(labelled, loose), directed=False)
    return replace(loose, of=frozen_array(of, np.int64), count=int(count))


def tie_matrix(labelled: Labelled, components: Components) -> coo_array:
    """Return the ties as a sparse matrix over all labels."""
    starts, index = components.starts, components.index
    first = [starts[index[tie.a]] + tie.a_at for tie in labelled.applied_ties]
    second = [starts[index[tie.b]] + tie.b_at for tie in labelled.applied_ties]
    total = int(starts[-1])
    edges = (np.concatenate(first), np.concatenate(second)) if first else (np.zeros(0, int), np.zeros(0, int))
    return coo_array((np.ones(edges[0].size, dtype=np.int8), edges), shape=(total, total))


def build_groups(
    labelled: Labelled,
    components: Components,
    frozen_axes: tuple[FrozenAxis, ...],
    *,
    approximate: bool = False,
    states: BoolArray | None = None,
) -> tuple[ChannelGroup, ...]:
    """Sort the components into groups: the same axes, reached the same number of times, frozen for the same reason.

    With `approximate`, what only an approximate freeze forbids is free, and labelled as approximate. Groups of the
    components `states` that nothing but the interface freezes are labelled as states.
    """
    states = np.zeros(components.count, dtype=bool) if states is None else states
    cause = _causes(components, frozen_axes, states)
    produced = np.zeros(components.count, dtype=bool)
    for axis, _ in labelled.produces:
        produced[components.labels(axis)] = True
    order = np.argsort(components.of, kind="stable")
    bounds = np.searchsorted(components.of[order], np.arange(components.count + 1))
    signatures = _signatures(components, cause)
    first_label = order[bounds[:-1]]
    by_signature: dict[int, list[int]] = {}
    for component in np.argsort(first_label, kind="stable"):
        if produced[component]:
            by_signature.setdefault(int(signatures[component]), []).append(int(component))
    producers = {axis for axis, _ in labelled.produces}
    groups = []
    names: set[str] = set()
    for members in by_signature.values():
        labels = np.stack([order[bounds[c] : bounds[c + 1]] for c in members])
        frozen = frozen_axes[cause[members[0]]] if cause[members[0]] >= 0 else None
        group = _group(components, labels, producers, frozen, names, allowed=approximate)
        is_state = frozen is not None and frozen.outside and bool(states[members].all())
        groups.append(replace(group, state=is_state))
    return tuple(groups)


def _causes(components: Components, frozen_axes: tuple[FrozenAxis, ...], states: BoolArray) -> IntArray:
    """Return for each component the number of the frozen axis that freezes it, or -1.

    What nothing lifts comes first, then what freezes `states` from outside, then what is approximate.

    Where nodes freeze one position each of the same axis, the first of them speaks for all.
    """
    cause = np.full(components.count, -1, dtype=np.int64)

    def rank(entry: tuple[int, FrozenAxis]) -> tuple[bool, bool, bool, int]:
        number, frozen = entry
        of_states = frozen.outside and bool(states[components.labels(frozen.axis)].all())
        shut_by_another = frozen.outside and frozen.at is not None
        return frozen.approximate, of_states, shut_by_another, number

    ranked = sorted(enumerate(frozen_axes), key=rank)
    speakers: dict[tuple[Axis, bool, bool], int] = {}
    numbers = [
        number if frozen.at is None else speakers.setdefault((frozen.axis, frozen.approximate, frozen.outside), number)
        for number, frozen in ranked
    ]
    for number, (_, frozen) in reversed(list(zip(numbers, ranked, strict=True))):
        labels = components.labels(frozen.axis)
        cause[labels if frozen.at is None else labels[frozen.at]] = number
    return cause


def _signatures(components: Components, cause: IntArray) -> IntArray:
    """Hash each component's multiset of axes and its cause."""
    rng = np.random.default_rng(0)
    signatures = axis_signatures(components, rng)
    with np.errstate(over="ignore"):
        return signatures + random_words(rng, int(cause.max(initial=-1)) + 2)[cause + 1]


def axis_signatures(components: Components, rng: np.random.Generator) -> IntArray:
    """Hash each component's multiset of axes: a sum of random 64-bit words, one per axis."""
    per_label = np.repeat(random_words(rng, len(components.axes)), np.diff(components.starts))
    signatures = np.zeros(components.count, dtype=np.int64)
    np.add.at(signatures, components.of, per_label)
    return signatures


def random_words(rng: np.random.Generator, count: int) -> IntArray:
    """Return random numbers of 64 bits, of which sums tell multisets apart."""
    return rng.integers(np.iinfo(np.int64).min, np.iinfo(np.int64).max, size=count, dtype=np.int64)


def _group(
    components: Components,
    labels: IntArray,
    producers: set[Axis],
    frozen: FrozenAxis | None,
    names: set[str],
    *,
    allowed: bool,
) -> ChannelGroup:
    """Build a group from the labels [channels, labels per channel] of its components."""
    layout = components.axis_of(labels[0])
    members = tuple(_members(components, labels, layout, producers))
    layers = tuple(member.axis.ref.name for member in members if member.role == "produces")
    name = layers[0]
    number = 1
    while name in names:
        number += 1
        name = f"{layers[0]}#{number}"
    names.add(name)
    return ChannelGroup(
        name=name,
        size=len(labels),
        members=members,
        layers=layers,
        frozen=None if frozen is None or (allowed and frozen.approximate) else f"{frozen.axis} {joined(frozen.reason)}",
        approximate=frozen is not None and frozen.approximate,
    )


def joined(reason: str) -> str:
    """Make a freeze's reason read on after the axis that it stands for."""
    return reason if reason.startswith(("is ", "its ")) else f"meets {reason}"


def _members(components: Components, labels: IntArray, layout: IntArray, producers: set[Axis]) -> Iterator[Member]:
    found: list[tuple[int, Member]] = []
    for place in np.unique(layout):
        axis = components.axes[place]
        positions = labels[:, layout == place] - components.starts[place]
        role: Role = "produces" if axis in producers else "weight" if axis.ref.is_use else "activation"
        rank = {"produces": 0, "weight": 1, "activation": 2}[role]
        found.append((rank, Member(axis, frozen_array(positions), role)))
    yield from (member for _, member in sorted(found, key=lambda entry: entry[0]))
