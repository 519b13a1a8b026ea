"""As `loss`, per millisecond that is saved, whatever the budget is of."""

from dataclasses import replace

from onnxprune.errors import InputError
from onnxprune.selection.greedy import shrink
from onnxprune.selection.policy import Policy, Problem, register


def choose(problem: Problem) -> dict[str, int]:
    """Return the widths that taking the block with the smallest loss per millisecond leads to.

    Raises:
        InputError: nothing was timed.
    """
    if problem.latency is None:
        raise InputError(
            "--policy latency goes by times; have them measured (the command line does), or give a table.",
            "missing-option",
        )
    limits = replace(problem.limits, price=problem.latency)
    return shrink(problem.widths, problem.scores.curves, limits, problem.caps)


register(Policy("latency", "as loss, per millisecond that is saved", "losses", choose, timed=True))
