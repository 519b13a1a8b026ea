"""Which positions of a large map are looked at: every so many along each axis."""

import math

MOST_POSITIONS = 128
"""Most positions of a map that are averaged, or searched for where a channel is most active."""

MOST_COUNTED = 64
"""Most positions of a map that go into a histogram."""

Steps = tuple[int, ...]


def thinned(space: tuple[int, ...], step: Steps) -> tuple[int, ...]:
    """Return the sizes of a map of `space` of which every `step`-th position is taken, from the first one on."""
    return tuple(-(-size // one) for size, one in zip(space, step, strict=True))


def steps(space: tuple[int, ...], most: int) -> Steps:
    """Return the smallest steps, much alike along all axes, that leave at most `most` positions of a map."""
    step = [1] * len(space)
    while math.prod(left := thinned(space, tuple(step))) > most:
        step[left.index(max(left))] += 1
    return tuple(step)
