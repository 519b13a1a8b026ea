"""Holding a budget of latency: what a run goes by, what is refused at once, and correcting what the table missed.

What a table predicts is a few percent off. So what was chosen is timed beside the original, and chosen again with the
budget corrected by what was missed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.errors import UnreachableError
from onnxprune.latency.device import Device
from onnxprune.latency.table import LatencyTable, NetworkTimes
from onnxprune.values.amount import Amount, percent
from onnxprune.values.axes import BoolArray

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

    table: LatencyTable | None = None
    here: bool = True
    device: Device = field(default_factory=Device)


@dataclass(frozen=True, eq=False)
class Timed:
    """A choice and what it was timed to take: a share of the original's latency, and whether that meets the budget."""

    keep: Keep
    share: float
    met: bool


def refuse_latency(budget: Amount | None, networks: Sequence[NetworkTimes]) -> None:
    """Refuse a latency that the network does not even reach with every group at its least.

    Raises:
        UnreachableError: it does not; `networks` are its times, the uncut one's first.
    """
    whole, *cuts = networks
    least = min(found.median for found in cuts)
    if budget is not None and least > budget.of(whole.median):
        raise UnreachableError(
            f"A latency of {budget.of(whole.median):.3g} ms cannot be met on this machine: with every group at its "
            f"least it is {least:.3g} ms ({percent(least / whole.median)} of the original's {whole.median:.3g} ms); "
            "ask for that.",
            "over-budget",
        )


def timed_choices(
    budget: Amount,
    first: Keep,
    choose: Callable[[Amount], Keep],
    time: Callable[[int, Keep], tuple[float, float]],
) -> list[Timed]:
    """Choose until what was chosen meets a budget of latency as timed and is close to it, and return all choices.

    Args:
        budget: milliseconds, or a share of the original's.
        first: what was chosen by what is predicted.
        choose: chooses under a corrected budget; where that cannot be met it raises UnreachableError.
        time: the original's milliseconds, and those of a choice of this number, from 0.
    """
    found: list[Timed] = []
    keep, aim = first, 1.0
    for number in range(TRIES):
        whole, taken = time(number, keep)
        limit = budget.of(whole)
        found.append(Timed(keep, taken / whole, taken <= limit))
        aim *= AIM * limit / taken
        if CLOSE * limit <= taken <= limit or number + 1 == TRIES or aim > 1 / CLOSE**TRIES:
            break
        target = aim * budget.as_share(whole).number
        try:
            chosen = choose(Amount(min(1.0, target), is_share=True, text=budget.text))
        except UnreachableError:
            break
        if all(np.array_equal(chosen[name], mask) for name, mask in keep.items()):
            break
        keep = chosen
    return found


def latency_notes(analysis: Analysis, timing: Timing, keep: Mapping[str, int]) -> Iterator[str]:
    """Say what was predicted of the latency, and for which device."""
    if timing.table is not None:
        before, after = analysis.costs.whole_of("latency"), analysis.costs.cost_at("latency", keep)
        yield (
            f"Predicted latency: {after:.3g} of {before:.3g} ms ({percent(after / before)}) on "
            f"{timing.table.device}; timings there scattered by {100 * timing.table.noise:.0f} % (10th to 90th "
            "percentile)."
        )
