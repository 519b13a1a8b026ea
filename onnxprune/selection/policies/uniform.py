"""The same share of every group."""

import math

from onnxprune.selection.policy import Policy, Problem, register

STEPS = 1000
"""Shares that are told apart."""


def choose(problem: Problem) -> dict[str, int]:
    """Return the widths at the largest share of every group that stays while the limits hold, rounded down."""

    def counts_at(step: int) -> dict[str, int]:
        return {
            width.name: min(width.down(math.floor(width.size * step / STEPS + 1e-9)), problem.caps[width.name])
            for width in problem.widths
        }

    problem.limits.refuse_impossible(counts_at(0))
    low, high = 0, STEPS  # `low` always holds; widths only grow with the share
    while low < high:
        middle = (low + high + 1) // 2
        if problem.limits.hold(counts_at(middle)):
            low = middle
        else:
            high = middle - 1
    return counts_at(low)


register(Policy("uniform", "the same share of every group", "none", choose, even=True))
