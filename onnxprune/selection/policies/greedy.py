"""From the floors up, by the method's own gain per cost: the second stage of CATRO."""

from onnxprune.selection.greedy import grow
from onnxprune.selection.policy import Policy, Problem, register


def choose(problem: Problem) -> dict[str, int]:
    """Return the widths that adding the block with the largest gain per cost leads to."""
    return grow(problem.widths, problem.scores.curves, problem.limits, problem.caps)


register(Policy("greedy", "from the floors up, the block with the largest gain per cost first", "gains", choose))
