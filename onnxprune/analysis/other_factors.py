"""Groups along the other factors of axes that are cut along one: heads beside head dimensions.

A reshape that splits an axis in two lets channels go along either factor. One labelling holds those of one factor, see
`factors`; another, without the factors taken, holds those of the next. A position goes where its channel in any of the
labellings goes: what holds in each of them, that both ends of a tie go together, holds of all. Every channel of one
group has to meet every channel of another in as many positions of an axis, so that widths follow from how many stay.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from onnxprune.analysis.analysis import Analysis, Labelling
from onnxprune.analysis.closed import dead_ends
from onnxprune.analysis.reading import Reading
from onnxprune.ops.facts import Tie
from onnxprune.values.axes import Axis, BoolArray
from onnxprune.values.groups import ChannelGroup, Member

Overlaps = Mapping[Axis, tuple[tuple[str, str, int], ...]]
"""By axis (group, group, positions): in how many positions a channel of one meets one of the other.

The second group is of a later labelling.
"""

_FACTORS = 3
"""How many factors of one axis may carry channels."""


def with_other_factors(found: Analysis, reading: Reading, attempt: Callable[[frozenset[Tie]], Analysis]) -> Analysis:
    """Return the analysis with the groups of further labellings in it that can be cut exactly beside its own.

    What is frozen because its axis is cut along another factor is no group any more where such a group has its
    channels. Costs are not counted yet.
    """
    ending, vain = dead_ends(reading)
    banned = frozenset(found.labelled.carriers) | ending
    for _ in range(1, _FACTORS):
        if not _is_open(reading, found.labelled.carriers, banned | vain):
            break
        trial = attempt(banned)
        new = tuple(_new_groups(found, trial))
        if not new:
            break
        before = tuple(group for group in found.groups if not _is_covered(group, new))
        names = {group.name for group in before}
        new = tuple(_named(group, names) for group in new)
        labelling = Labelling(trial.labelled, trial.components, frozenset(group.name for group in new))
        found = replace(found, groups=(*before, *new), others=(*found.others, labelling))
        banned |= frozenset(trial.labelled.carriers)
    return _with_crossed_axes(found) if found.others else found


def _is_open(reading: Reading, carriers: tuple[Tie, ...], banned: frozenset[Tie]) -> bool:
    """Whether an axis that is cut along one factor can be cut along another one that is not `banned`."""
    taken = frozenset(carriers)
    return any(not taken.isdisjoint(ties) and not banned.issuperset(ties) for ties in reading.alternatives.values())


def _new_groups(found: Analysis, trial: Analysis) -> Iterator[ChannelGroup]:
    """Yield the groups of `trial` that are none of those found, and can be cut whatever is cut of these."""
    known = [(labelling, labelling.reached(found.free)) for labelling in found.labellings]
    for group in trial.free:
        if group.approximate or group.state or any(_is_known(group, *each) for each in known):
            continue
        sizes = {member.axis: trial.labelled.sizes[member.axis] for member in group.members}
        alike = all(found.sizes.get(axis, size) == size for axis, size in sizes.items())  # of free sizes: the cycles
        if alike and all(_crosses(found, member) for member in group.members):
            yield group


def _is_known(group: ChannelGroup, labelling: Labelling, free: BoolArray) -> bool:
    """Whether the channels of a group are ones that can be cut in another labelling, as the layer makes them."""
    axis, positions = group.members[0].axis, group.members[0].positions
    if axis not in labelling.components.index:
        return False
    labels = labelling.components.labels(axis)
    channels = labels[positions]
    many = np.bincount(labels, minlength=labelling.components.count)[channels[:, 0]]
    whole = (channels == channels[:, :1]).all() and (many == positions.shape[1]).all()
    return bool(whole and free[channels[:, 0]].all())


def _crosses(found: Analysis, new: Member) -> bool:
    """Whether channels meet those of each other group on an axis like rows and columns, if at all.

    What a normalisation runs over is cut along one factor alone, and no position lies along three.
    """
    others = found.lying.get(new.axis, ())
    met = {number for number, _, other in others if np.isin(new.positions, other.positions).any()}
    if not met:
        return True
    (number, *more) = met
    labelled = found.labellings[number].labelled
    fixed = found.graph.facts.is_fixed(new.axis.ref.name, new.axis.dim) or new.axis.ref.is_use
    inexact = any(frozen.approximate and frozen.axis == new.axis for frozen in labelled.frozen_axes)
    regular = all(common_positions(new, other) is not None for _, _, other in others)
    return fixed and not more and not inexact and regular


def common_positions(a: Member, b: Member) -> int | None:
    """Return in how many positions of their axis a channel of one group meets one of another; None: it depends."""
    owner = np.full(1 + max(int(a.positions.max()), int(b.positions.max())), -1, dtype=np.int64)
    owner[b.positions] = np.arange(len(b.positions))[:, None]
    met = owner[a.positions]
    wide = len(b.positions)
    pairs = (np.arange(len(met))[:, None] * wide + met)[met >= 0]
    many = np.bincount(pairs, minlength=len(met) * wide)
    return int(many[0]) if (many == many[0]).all() else None


def _is_covered(group: ChannelGroup, new: tuple[ChannelGroup, ...]) -> bool:
    """Whether a frozen group has no channels but those of other groups."""
    if group.prunable:
        return False
    made = [member for member in group.members if member.role == "produces"]
    return all(any(_contains(member, other) for other in new) for member in made)


def _contains(member: Member, group: ChannelGroup) -> bool:
    return any(
        own.axis == member.axis and bool(np.isin(member.positions, own.positions).all()) for own in group.members
    )


def overlaps(found: Analysis) -> Overlaps:
    """Return where channels of groups of two labellings meet."""
    met: dict[Axis, tuple[tuple[str, str, int], ...]] = {}
    for axis, members in found.lying.items():
        pairs = ((a, b) for a, b in itertools.combinations(members, 2) if a[0] != b[0])
        common = ((a[1].name, b[1].name, common_positions(a[2], b[2]) or 0) for a, b in pairs)
        those = tuple(each for each in common if each[2])
        if those:
            met[axis] = those
    return met


def _with_crossed_axes(found: Analysis) -> Analysis:
    """Return the analysis with the axes in each group on which it meets others along another factor."""
    crossed: dict[str, set[Axis]] = {group.name: set() for group in found.groups}
    uneven: dict[str, set[Axis]] = {group.name: set() for group in found.groups}
    for axis, pairs in overlaps(found).items():
        for first, second, _ in pairs:
            crossed[first].add(axis)
            crossed[second].add(axis)
            uneven[first].add(axis)
    groups = (
        replace(group, crossed=frozenset(crossed[group.name]), uneven=frozenset(uneven[group.name]))
        for group in found.groups
    )
    return replace(found, groups=tuple(groups))


def _named(group: ChannelGroup, names: set[str]) -> ChannelGroup:
    """Return the group under a name that none of `names` is, which is added to them."""
    name, number = group.name, 1
    while name in names:
        number += 1
        name = f"{group.layers[0]}#{number}"
    names.add(name)
    return replace(group, name=name)
