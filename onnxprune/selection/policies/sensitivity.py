"""From the full widths down, by what was measured: how far the outputs move when a group alone loses channels."""

from onnxprune.selection.greedy import shrink
from onnxprune.selection.policy import Policy, Problem, register


def choose(problem: Problem) -> dict[str, int]:
    """Return the widths that taking the block with the smallest measured change per cost leads to."""
    return shrink(problem.widths, problem.scores.curves, problem.limits, problem.caps)


register(Policy("sensitivity", "as loss, by the measured change of the outputs", "measured", choose))
