"""Latency within a run: the width block of this machine, a table to choose by, and holding the result to its budget.

What a table foretells is a few percent off. So where the budget is of this machine's latency, what was chosen is cut
and timed beside the original, and chosen again with the budget corrected by what was missed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from onnxprune.analysis.analyse import Analysis
from onnxprune.errors import UnreachableError
from onnxprune.graph.loaded import Model
from onnxprune.latency.model import Foretold, LatencyTable, Whole
from onnxprune.latency.profile import (
    Device,
    profile_here,
    read_latency,
    refuse_untimed,
    table_of,
    time_models,
    width_block,
    with_clock,
    write_cut,
)
from onnxprune.pipeline.planning.widths import least_left
from onnxprune.pipeline.result import Tell
from onnxprune.selection.goal import Goal
from onnxprune.selection.policy import find_policy
from onnxprune.values.amount import Amount
from onnxprune.values.axes import BoolArray
from onnxprune.values.progress import Track

TRIES = 5
"""How often widths are chosen at most, until what was timed meets the budget and does not fall far below it."""

CLOSE = 0.96
"""A network that takes at least this share of its budget of latency counts as close to it."""

AIM = 0.985
"""The share of the budget that is aimed at: timings of the result scatter on both sides."""

Keep = Mapping[str, BoolArray]


@dataclass(frozen=True, eq=False)
class Timing:
    """What is known of a run's latency.

    Attributes:
        table: what was timed; None: nothing.
        here: whether on this machine.
        device: threads and provider on it.
    """

    table: LatencyTable | None
    here: bool
    device: Device


def settle_block(goal: Goal, device: Device, track: Track, say: Tell) -> Goal:
    """Return the goal with this machine's width block, where none was named."""
    if goal.round_to is not None:
        return goal
    say("working", "Finding the width block of this machine's kernels")
    block, slow = width_block(device, track)
    return replace(goal, round_to=block, slow=slow)


def settle_timing(
    model: Model, analysis: Analysis, goal: Goal, path: Path | None, device: Device, track: Track, say: Tell
) -> tuple[Analysis, Goal, Timing]:
    """Find or make the latency table that a run goes by, if it goes by any.

    Args:
        model: that is pruned.
        analysis: of it.
        goal: what is asked for.
        path: a latency table; None: this machine is timed, where a budget or a policy asks for that.
        device: how this machine is timed.
        track: receives progress.
        say: hears of the stages.

    Returns:
        The analysis with a clock, the goal with the device's width block and the widths that are not to be chosen, and
        what was timed.

    Raises:
        InputError: the table is none of this model, or the model cannot be timed.
        UnreachableError: the latency cannot be met, whatever is cut.
    """
    timed = goal.budget.latency is not None or (goal.policy is not None and find_policy(goal.policy).timed)
    if path is None and not timed:
        return analysis, settle_block(goal, device, track, say), Timing(None, True, device)
    if path is not None:
        table = read_latency(path, model, analysis)
    else:
        refuse_untimed(analysis)
        say("working", "Timing the network and its layers (once: what is found is kept)")
        found = profile_here(model, analysis, device, track, accept=partial(_refuse_unreachable, goal.budget.latency))
        table = table_of(found, analysis)
    analysis = with_clock(analysis, table)
    if goal.round_to is None:
        goal = replace(goal, round_to=table.block, slow=frozenset(table.slow))
    goal = replace(goal, barred=_barred(analysis, goal))
    return analysis, goal, Timing(table, path is None, device)


def _barred(analysis: Analysis, goal: Goal) -> dict[str, frozenset[int]]:
    """Return by group the widths at which its layers were timed to be slower than at a wider one."""
    clock, found = analysis.costs.clock, {}
    if isinstance(clock, Foretold):
        for group in analysis.prunable:
            width = goal.width(group)
            widths = [width.floor]
            while widths[-1] < group.size:
                widths.append(width.up_one(widths[-1]))
            found[group.name] = clock.barred(analysis.costs, group.name, widths)
    return found


def _refuse_unreachable(budget: Amount | None, wholes: Sequence[Whole]) -> None:
    """Refuse a latency that the network does not even reach with every group at its least."""
    whole, *cuts = wholes
    least = min(found.median for found in cuts)
    if budget is not None and least > budget.of(whole.median):
        raise UnreachableError(
            f"A latency of {budget.of(whole.median):.3g} ms cannot be met on this machine: with every group at its "
            f"least it is {least:.3g} ms ({least / whole.median:.1%} of the original's {whole.median:.3g} ms); ask for "
            "that."
        )


def hold_latency(
    model: Model,
    analysis: Analysis,
    goal: Goal,
    timing: Timing,
    first: Keep,
    again: Callable[[Goal], Keep],
    say: Tell,
) -> Keep:
    """Choose until what was chosen meets its budget of latency as timed here; else as it was chosen.

    Args:
        model: that is pruned.
        analysis: of it.
        goal: what was asked for.
        timing: what is known of the latency.
        first: what was chosen, by what is foretold.
        again: chooses under another goal.
        say: hears of the stages.

    Returns:
        Of all that was chosen and met the budget what has most MACs.

    Raises:
        UnreachableError: nothing that was chosen met it.
    """
    budget = goal.budget.latency
    if budget is None or timing.table is None or not timing.here:
        return first
    held: list[tuple[float, Keep]] = []
    best, keep, aim = float("inf"), first, 1.0
    for number in range(TRIES):
        say("working", "Timing what was chosen" if number == 0 else f"Timing what was chosen anew ({number})")
        whole, taken = time_cuts(model, analysis, [{}, keep], timing.device)
        limit = budget.of(whole)
        best = min(best, taken / whole)
        if taken <= limit:
            held.append((analysis.macs(keep), keep))
            if taken >= CLOSE * limit:
                break
        aim *= AIM * limit / taken
        if number + 1 == TRIES or aim > 1 / CLOSE**TRIES:
            break
        target = aim * budget.as_share(whole).number
        try:
            chosen = again(
                replace(goal, budget=replace(goal.budget, latency=Amount(min(1.0, target), True, budget.text)))
            )
        except UnreachableError:
            break
        if all(np.array_equal(chosen[name], mask) for name, mask in keep.items()):
            break
        keep = chosen
    if not held:
        least = least_left(analysis, goal)["latency"]
        raise UnreachableError(
            f"A latency of {budget.text} was not met: what was chosen takes {best:.1%} of the original's here, and "
            f"with every group at its least about {least:.1%} are foretold; ask for more time."
        )
    return max(held, key=lambda pair: pair[0])[1]


def time_cuts(model: Model, analysis: Analysis, keeps: list[Keep], device: Device) -> list[float]:
    """Return the milliseconds that the network takes with each of these cuts, timed in turn."""
    with TemporaryDirectory(prefix="onnxprune-") as name:
        paths = [write_cut(model, analysis, keep, Path(name) / str(number)) for number, keep in enumerate(keeps)]
        return time_models(paths, analysis, device)


def latency_notes(analysis: Analysis, timing: Timing, keep: Mapping[str, int]) -> Iterator[str]:
    """Say what was foretold of the latency, and for which device."""
    if timing.table is not None:
        before, after = analysis.costs.whole_of("latency"), analysis.costs.cost_at("latency", keep)
        yield (
            f"Foretold latency: {after:.3g} of {before:.3g} ms ({after / before:.1%}) on {timing.table.device}; "
            f"timings there scattered by {timing.table.noise:.0%} (10th to 90th percentile)."
        )
