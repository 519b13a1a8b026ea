"""The channels of all groups in one ranking."""

from onnxprune.selection.policy import Policy, Problem, register
from onnxprune.selection.threshold import by_budget


def choose(problem: Problem) -> dict[str, int]:
    """Return the widths at the lowest score under which channels have to go, whatever their group."""
    return by_budget(problem.widths, problem.scores, problem.limits, problem.caps)[0]


register(Policy("global", "all channels in one ranking by score, the lowest go", "none", choose))
