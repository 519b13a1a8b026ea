"""Widths a group may take: the floor under them and the blocks they are rounded to."""

import math
from dataclasses import dataclass

FLOOR = 0.1
"""Share of a group's channels that always stays unless another is asked for (rounded up, never zero)."""


@dataclass(frozen=True)
class Width:
    """The widths that a group of `size` channels may take.

    `block` is the number of channels that fills one block of the kernels; 1 means any width. A group no wider than a
    block, and any target below one block, keeps multiples of 1.

    Attributes:
        name: of the group.
        size: its channels.
        block: see above.
        share: of the channels that always stays.
        least: channels that always stay, whatever the share says; None: as it says.
        most: channels that may stay at most; None: all.
        excluded: widths that are not to be chosen, as a wider layer is faster.
    """

    name: str
    size: int
    block: int = 1
    share: float = FLOOR
    least: int | None = None
    most: int | None = None
    excluded: frozenset[int] = frozenset()

    @property
    def top(self) -> int:
        """The most channels that may stay."""
        return self.size if self.most is None else self.most

    @property
    def floor(self) -> int:
        """The fewest channels that stay: the share, rounded up, to whole blocks where it is more than one block."""
        if self.least is not None:
            return self.least
        fewest = max(1, math.ceil(self.share * self.size - 1e-9))
        fewest = fewest if self._free(fewest) else min(self.size, self.block * math.ceil(fewest / self.block))
        return self._open(fewest)

    def nearest(self, count: int) -> int:
        """Round a target to the nearest block, ties up, within the floor and the size."""
        if count >= self.size or self._free(count):
            return self._clip(count)
        rounded = self.block * ((2 * count + self.block) // (2 * self.block))
        # The full width needs no block: nobody asks to grow or to shrink a group that is whole.
        if self.size - count <= abs(rounded - count):
            rounded = self.size
        if self._clip(rounded) not in self.excluded:
            return self._clip(rounded)
        below, above = self.down(rounded), self._open(rounded)
        return above if above - count <= count - below else below

    def down(self, count: int) -> int:
        """Round a target down to a block, within the floor."""
        while True:
            found = self._clip(count if count >= self.size or self._free(count) else count - count % self.block)
            if found not in self.excluded or found == self.floor:
                return found
            count = found - 1

    def up_one(self, count: int) -> int:
        """Return the next wider width that is allowed."""
        return self._open(self._next(count))

    def _next(self, count: int) -> int:
        if count >= self.size:
            return self.size
        if self._free(count + 1):
            return count + 1
        return min(self.size, (count // self.block + 1) * self.block)

    def _open(self, count: int) -> int:
        """Return this width, or the next wider one that is not excluded; the full one never is."""
        while count in self.excluded and count < self.size:
            count = self._next(count)
        return count

    def down_one(self, count: int) -> int:
        """Return the next narrower width that is allowed; the floor is the least."""
        if count <= self.floor:
            return count
        return self.down(count - 1)

    def _free(self, count: int) -> bool:
        return self.block <= 1 or self.size <= self.block or count < self.block

    def _clip(self, count: int) -> int:
        return min(self.size, max(self.floor, count))
