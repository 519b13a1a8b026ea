"""Coming close to limits from below: what a policy leaves unused by wide blocks is given to narrower ones.

The last block that goes may be a large one, which leaves much less than was asked for. Where that is so, a group whose
next block does not fit any more gets it back, and smaller ones of other groups go for it. Of all that comes close the
one that keeps the most by its scores is taken.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np

from onnxprune.errors import UnreachableError
from onnxprune.selection.greedy import extend, shrink
from onnxprune.selection.limits import Limits
from onnxprune.selection.policy import Policy, Problem
from onnxprune.selection.widths import Width
from onnxprune.values.axes import FloatArray

CLOSE = 0.03
"""What may be left unused of the original's cost, as a share."""

MOST_TRIES = 12
"""Groups that get a block back, at most, from one start."""

MOST_STARTS = 12
"""Widths from which that is tried, the closest first."""


def choose_closely(policy: Policy, problem: Problem) -> dict[str, int]:
    """Return the widths of a policy, or others that leave less unused.

    Raises:
        UnreachableError, InputError: as the policy.
    """
    found = policy.choose(problem)
    if policy.even or unused(problem.limits, found) <= CLOSE:
        return found
    curves = _curves(problem)
    filled = extend(problem.widths, curves, problem.limits, found, problem.caps)
    held, waiting, seen = [found, filled], [filled], set[tuple[int, ...]]()
    while waiting and unused(problem.limits, waiting[0]) > CLOSE and len(seen) < MOST_STARTS:
        start = waiting.pop(0)
        if tuple(start.values()) not in seen:
            seen.add(tuple(start.values()))
            others = [other for other in _exchanged(problem, curves, start) if problem.limits.hold(other)]
            held += others
            waiting = sorted([*waiting, *others], key=lambda counts: unused(problem.limits, counts))
    near = [counts for counts in held if unused(problem.limits, counts) <= CLOSE]
    if near:
        return max(near, key=lambda counts: sum(float(curves[name][count]) for name, count in counts.items()))
    return min(held, key=lambda counts: unused(problem.limits, counts))


def _exchanged(
    problem: Problem, curves: Mapping[str, FloatArray], counts: Mapping[str, int]
) -> Iterator[dict[str, int]]:
    """Yield widths in which one group has a block more and another, or several, have fewer for it."""
    for width in _too_wide(problem, counts)[:MOST_TRIES]:
        wider = {**counts, width.name: min(width.up_one(counts[width.name]), problem.caps[width.name])}
        pinned = replace(width, least=wider[width.name])
        widths = [pinned if other is width else other for other in problem.widths]
        with suppress(UnreachableError):
            yield extend(widths, curves, problem.limits, shrink(widths, curves, problem.limits, wider), problem.caps)
        for other in _by_loss(problem, curves, counts)[:MOST_TRIES]:
            narrower = wider
            while other is not width and not problem.limits.hold(narrower):
                less = other.down_one(narrower[other.name])
                if less == narrower[other.name]:
                    break
                narrower = {**narrower, other.name: less}
            if problem.limits.hold(narrower):
                yield extend(widths, curves, problem.limits, narrower, problem.caps)


def _by_loss(problem: Problem, curves: Mapping[str, FloatArray], counts: Mapping[str, int]) -> list[Width]:
    """Return the groups by what their next block that goes is worth, the least first."""

    def lost(width: Width) -> float:
        now = counts[width.name]
        return float(curves[width.name][now] - curves[width.name][width.down_one(now)])

    return sorted(
        (width for width in problem.widths if width.down_one(counts[width.name]) < counts[width.name]), key=lost
    )


def unused(limits: Limits, counts: Mapping[str, int]) -> float:
    """Return what is left unused of the limit that is met most closely, as a share of the original's cost."""
    shares = ((limit.most - limit.cost(counts)) / limit.whole for limit in limits.limits if limit.whole)
    return min(shares, default=0.0)


def _too_wide(problem: Problem, counts: Mapping[str, int]) -> list[Width]:
    """Return the groups whose next block does not fit, the cheapest of these blocks first."""
    costs = {}
    for width in problem.widths:
        wider = min(width.up_one(counts[width.name]), problem.caps[width.name])
        if wider > counts[width.name]:
            costs[width.name] = float(problem.limits.used({**counts, width.name: wider}).max())
    return sorted((width for width in problem.widths if width.name in costs), key=lambda width: costs[width.name])


def _curves(problem: Problem) -> dict[str, FloatArray]:
    """Return what keeping the d best channels of each group is worth: by its curve, else by the sum of its scores."""
    if problem.scores.curves:
        return {width.name: problem.scores.curves[width.name] for width in problem.widths}
    found = {}
    for width in problem.widths:
        values = np.sort(problem.scores.values[width.name])[::-1]
        finite = np.nan_to_num(values, posinf=float(np.abs(values[np.isfinite(values)]).max(initial=1.0)), neginf=0.0)
        found[width.name] = np.concatenate([[0.0], np.cumsum(finite)])
    return found
