"""What users say of single groups: which stay whole, which lose a share of their own, and what every group keeps.

A pattern (`stem*`, `layer3.*`, `*/conv2/*`) fits a group if it fits the name of one of its layers or weights, or one of
the parts of such a name between slashes. Coupled layers are one group, so what is said of one holds for all of them.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from onnxprune.errors import InputError
from onnxprune.selection.schedule import left_after
from onnxprune.selection.widths import FLOOR, Width
from onnxprune.values.groups import ChannelGroup

Places = frozenset[tuple[str, int]]
"""Axes of activations, as name and dimension."""


@dataclass(frozen=True)
class Steering:
    """What users say of groups.

    Attributes:
        min_keep: share of the channels of every group that always stays (rounded up, never none).
        keep: patterns of groups that stay whole.
        ratios: patterns of groups with the share of their channels that goes, whatever the budgets say of others.
        original: widths that all shares are of, by the `places` of a group; others are of the group's own width.
    """

    min_keep: float = FLOOR
    keep: tuple[str, ...] = ()
    ratios: tuple[tuple[str, float], ...] = ()
    original: Mapping[Places, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What was asked for, by name."""
        given: dict[str, Any] = {}
        if self.min_keep != FLOOR:
            given["min_keep"] = self.min_keep
        if self.keep:
            given["keep"] = list(self.keep)
        if self.ratios:
            given["ratio_for"] = dict(self.ratios)
        return given

    def check(self, groups: Sequence[ChannelGroup]) -> None:
        """Refuse what has no sense, or no group that it is about.

        Raises:
            InputError: a share out of range, a pattern that fits no group, or two that contradict each other.
        """
        if not 0 <= self.min_keep <= 1:
            raise InputError(f"--min-keep is a share from 0 to 100%, not {self.min_keep:g}.", "bad-value")
        for pattern, ratio in self.ratios:
            if not 0 <= ratio < 1:
                raise InputError(
                    f"--ratio-for {pattern}={ratio:g}: a share from 0 up to but not including 1 can go.", "bad-value"
                )
        for pattern in (*self.keep, *(pattern for pattern, _ in self.ratios)):
            if not any(fits(pattern, group) for group in groups):
                raise InputError(
                    f"{pattern!r} fits no layer or weight of this model{_similar(pattern, groups)}.", "unknown-name"
                )
        for group in groups:
            said = {ratio for pattern, ratio in self.ratios if fits(pattern, group)}
            if len(said) + self.leaves_whole(group) > 1:
                raise InputError(
                    f"More than one thing is said of group {group.name!r}, whose layers are cut together: "
                    f"{', '.join(group.layers)}; leave all but one out.",
                    "conflicting-options",
                )

    def leaves_whole(self, group: ChannelGroup) -> bool:
        """Whether a group is to stay whole."""
        return any(fits(pattern, group) for pattern in self.keep)

    def width(self, group: ChannelGroup, block: int) -> Width:
        """Return the widths that a group may take."""
        whole = self.original.get(places(group), group.size)
        least = min(1.0, self.min_keep * whole / group.size)
        if self.leaves_whole(group):
            return Width(group.name, group.size, block, least, group.size)
        free = Width(group.name, group.size, block, least)
        ratio = next((ratio for pattern, ratio in self.ratios if fits(pattern, group)), None)
        if ratio is None:
            return free
        count = free.nearest(math.floor(whole * (1 - ratio) + 1e-9))
        return Width(group.name, group.size, block, least, count, count)

    def part(self, share: float, groups: Sequence[ChannelGroup]) -> "Steering":
        """Return what of this is to be reached after a share of the way, in equal ratios, of a network cut by then.

        Patterns are left out that none of the `groups` of this network fits any more, with one channel left each.
        """
        left = tuple((pattern, 1 - left_after(share, 1 - ratio)) for pattern, ratio in self.ratios)
        return replace(self, ratios=tuple(entry for entry in left if any(fits(entry[0], group) for group in groups)))


def places(group: ChannelGroup) -> Places:
    """Return what tells a group from others, of the same network or of one that was cut: the axes that it reaches."""
    return frozenset((member.axis.ref.name, member.axis.dim) for member in group.members if not member.axis.ref.is_use)


def widths_by_place(groups: Sequence[ChannelGroup]) -> dict[Places, int]:
    """Return the widths of groups by their `places`, where these are no other group's."""
    found = Counter(map(places, groups))
    return {places(group): group.size for group in groups if found[places(group)] == 1}


def fits(pattern: str, group: ChannelGroup) -> bool:
    """Whether a pattern is about a group."""
    return any(fnmatchcase(name, pattern) for name in _names(group))


def _names(group: ChannelGroup) -> Iterable[str]:
    stored = (member.axis.ref.name for member in group.members if member.role != "activation")
    for name in dict.fromkeys((*group.layers, *stored)):
        yield name
        yield from name.strip("/").split("/")


def _similar(pattern: str, groups: Sequence[ChannelGroup]) -> str:
    names = list(dict.fromkeys(name for group in groups for name in _names(group)))
    found = get_close_matches(pattern, names, n=3, cutoff=0.4) or names[:3]
    return f"; there are {', '.join(map(repr, found))}, ..." if found else ""
