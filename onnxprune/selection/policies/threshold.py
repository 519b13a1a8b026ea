"""The method's own threshold, or as much more as the limits ask for."""

import numpy as np

from onnxprune.errors import InputError
from onnxprune.selection.policy import Policy, Problem, register
from onnxprune.selection.threshold import by_threshold


def choose(problem: Problem) -> dict[str, int]:
    """Return the widths at the method's own threshold, or at the lowest one above it at which the limits hold.

    Raises:
        InputError: the method has no threshold.
    """
    if problem.threshold is None:
        raise InputError(
            "This method has no threshold of its own; take --policy global, or another method.", "wrong-method"
        )
    values = np.unique(np.concatenate([problem.scores.values[width.name] for width in problem.widths]))
    above = [problem.threshold, *values[values > problem.threshold].tolist(), float("inf")]

    def counts_at(step: int) -> dict[str, int]:
        counts = by_threshold(problem.widths, problem.scores, above[step])
        return {name: min(count, problem.caps[name]) for name, count in counts.items()}

    problem.limits.refuse_impossible(counts_at(len(above) - 1))
    low, high = 0, len(above) - 1  # `high` always holds
    while low < high:
        middle = (low + high) // 2
        if problem.limits.hold(counts_at(middle)):
            high = middle
        else:
            low = middle + 1
    return counts_at(high)


register(Policy("threshold", "what scores below the method's own threshold, or a higher one", "none", choose))
