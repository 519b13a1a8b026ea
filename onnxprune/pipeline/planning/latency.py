"""Latency within a run: the width block of this machine, a table to choose by, and holding the result to its budget."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from onnxprune.analysis.analysis import Analysis
from onnxprune.errors import InputError, UnreachableError
from onnxprune.graph.loaded import Model
from onnxprune.latency.block import width_block
from onnxprune.latency.budget import Keep, Timing, refuse_latency, timed_choices
from onnxprune.latency.device import Device
from onnxprune.latency.excluded import excluded_widths
from onnxprune.latency.jobs import refuse_untimed
from onnxprune.latency.measure import time_cuts
from onnxprune.latency.model import with_latency_model
from onnxprune.latency.profile import profile_here
from onnxprune.latency.table import read_table, table_of
from onnxprune.pipeline.events import Listener, Working
from onnxprune.pipeline.planning.widths import least_left
from onnxprune.selection.goal import Goal
from onnxprune.selection.policy import find_policy
from onnxprune.values.amount import Amount, percent


def with_width_block(goal: Goal, device: Device, listener: Listener) -> Goal:
    """Return the goal with this machine's width block, where none was named."""
    if goal.round_to is not None:
        return goal
    listener.hear(Working("Finding the width block of this machine's kernels"))
    block, slow = width_block(device, listener.track)
    return replace(goal, round_to=block, slow=slow)


def time_network(
    model: Model, analysis: Analysis, goal: Goal, path: Path | None, device: Device, listener: Listener
) -> tuple[Analysis, Goal, Timing]:
    """Find or make the latency table that a run goes by, if it goes by any.

    Args:
        model: that is pruned.
        analysis: of it.
        goal: what is asked for.
        path: a latency table; None: this machine is timed, where a budget or a policy asks for that.
        device: how this machine is timed.
        listener: hears what is done.

    Returns:
        The analysis with a latency model, the goal with the device's width block and the widths that are not to be
        chosen, and what was timed.

    Raises:
        InputError: the table is none of this model, or the model cannot be timed.
        UnreachableError: the latency cannot be met, whatever is cut.
    """
    timed = goal.budget.latency is not None or (goal.policy is not None and find_policy(goal.policy).timed)
    if path is None and not timed:
        return analysis, with_width_block(goal, device, listener), Timing(here=True, device=device)
    if path is not None:
        table = read_table(path, model, analysis)
    else:
        refuse_untimed(analysis)
        listener.hear(Working("Timing the network and its layers (once: what is found is kept)"))
        # Of a network whose branches may go, less may be left than with every group at its least.
        most = goal.budget.latency if goal.leaves_out == "never" else None
        found = profile_here(model, analysis, device, listener.track, accept=partial(refuse_latency, most))
        table = table_of(found, analysis)
    if goal.round_to is None:
        goal = replace(goal, round_to=table.block, slow=frozenset(table.slow))
    goal = replace(goal, excluded=excluded_widths(table, analysis, goal))
    analysis = with_latency_model(analysis, table)
    _refuse_bare(goal.budget.latency, analysis.costs.whole_of("latency"))
    return analysis, goal, Timing(table, path is None, device)


def _refuse_bare(budget: Amount | None, whole: float) -> None:
    """Refuse a number without a unit that is no limit in milliseconds, as it was hardly meant to be.

    Raises:
        InputError: it is none.
    """
    if budget is not None and not budget.is_share and budget.number >= whole and budget.text[-1:].isdigit():
        share = f"; for a share write {budget.text}%" if budget.number <= 100 else ""
        raise InputError(f"--latency {budget.text} ms is above today's {whole:.3g} ms{share}.", "bad-value")


def hold_latency(
    model: Model,
    analysis: Analysis,
    goal: Goal,
    timing: Timing,
    first: Keep,
    again: Callable[[Goal], Keep],
    listener: Listener,
) -> tuple[Keep, tuple[str, ...]]:
    """Choose until what was chosen meets its budget of latency as timed here; else as it was chosen.

    Args:
        model: that is pruned.
        analysis: of it.
        goal: what was asked for.
        timing: what is known of the latency.
        first: what was chosen, by what is predicted.
        again: chooses under another goal.
        listener: hears what is done.

    Returns:
        Of all that was chosen and met the budget what has most MACs, and what is to be said of its latency.

    Raises:
        UnreachableError: nothing that was chosen met it.
    """
    budget = goal.budget.latency
    if budget is None or timing.table is None or not timing.here:
        return first, ()

    def choose(latency: Amount) -> Keep:
        return again(replace(goal, budget=replace(goal.budget, latency=latency)))

    def time(number: int, keep: Keep) -> tuple[float, float]:
        listener.hear(Working("Timing what was chosen" if number == 0 else f"Timing what was chosen anew ({number})"))
        whole, taken = time_cuts(model, analysis, [{}, keep], timing.device)
        return whole, taken

    choices = timed_choices(budget, first, choose, time)
    held = [choice for choice in choices if choice.met]
    if not held:
        least, best = least_left(analysis, goal)["latency"], min(choice.share for choice in choices)
        raise UnreachableError(
            f"A latency of {budget.text} was not met: what was chosen takes {percent(best)} of the original's "
            f"here, and with every group at its least about {percent(least)} are predicted; ask for more time.",
            "over-budget",
        )
    taken = max(held, key=lambda choice: analysis.macs(choice.keep))
    return taken.keep, (f"Timed here while it was chosen: {percent(taken.share)} of the original's latency.",)
