"""From the full widths down, by the reconstruction loss of the consumer layers per cost."""

from onnxprune.selection.greedy import shrink
from onnxprune.selection.policy import Policy, Problem, register


def choose(problem: Problem) -> dict[str, int]:
    """Return the widths that taking the block with the smallest loss per cost leads to."""
    return shrink(problem.widths, problem.scores.curves, problem.limits, problem.caps)


register(
    Policy(
        "loss",
        "from the full widths down, by the least reconstruction loss of the consumer layers first",
        "losses",
        choose,
    )
)
