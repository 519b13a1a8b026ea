"""Choosing a plan by what it loses: plans are cut, recovered and measured on data that no score or recovery saw."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from onnxprune.analysis.analysis import counts
from onnxprune.errors import InputError, UnreachableError
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.planning.plans import class_masks
from onnxprune.pipeline.planning.steps import Chosen, Keep
from onnxprune.pipeline.planning.trial_cut import recovered_cut
from onnxprune.pipeline.planning.widths import least_left
from onnxprune.runtime import open_session
from onnxprune.selection.budget import Budget
from onnxprune.selection.goal import Goal
from onnxprune.selection.loss_limits import MAX_DRIFT, LossLimits
from onnxprune.selection.search import find_cheapest
from onnxprune.values.trials import Search, Trial

GRID = 10
"""Budgets of a curve, beside the plans that a search tries."""

HIGHEST = 0.95
"""The mildest of them."""

Choose = Callable[[Goal], Chosen]
"""From what is asked for to the channels that stay."""


@dataclass(frozen=True, eq=False)
class Tried:
    """A trial and the channels that stayed in it."""

    trial: Trial
    chosen: Chosen


class Trials:
    """Tries plans, each once, by the method, policy and recovery of a run."""

    def __init__(self, run: Run, choose: Choose) -> None:
        """Begin without any.

        Raises:
            InputError: there are no samples to try plans on.
        """
        if run.samples is None:
            raise InputError(
                "--pareto measures every plan on samples; name a folder of images or an .npz file with --data.",
                "no-data",
            )
        self.tried_on = run.samples.tried_on
        self._run, self._limits, self._choose = run, run.limits, choose
        self._evaluator = run.evaluator_on(replace(run.samples, measured=self.tried_on))
        self._known: dict[bytes, Tried] = {}
        self._at: dict[float, Tried | None] = {}

    @property
    def made(self) -> tuple[Tried, ...]:
        """All so far, in their order."""
        return tuple(self._known.values())

    def at(self, share: float) -> Tried | None:
        """Try what leaves at most this share of the multiply-adds; None: nothing has to go for that."""
        if share not in self._at:
            goal = replace(self._run.goal, budget=Budget(macs=share))
            self._at[share] = self.of(self._choose(goal), share)
        return self._at[share]

    def of(self, chosen: Chosen, asked: float | None = None) -> Tried | None:
        """Try a choice; None: it takes nothing away."""
        if all(mask.all() for mask in chosen.keep.values()):
            return None
        key = _key(chosen.keep)
        if key not in self._known:
            self._known[key] = Tried(self._trial(chosen, asked), chosen)
        return self._known[key]

    def _trial(self, chosen: Chosen, asked: float | None) -> Trial:
        run, costs, kept = self._run, self._run.analysis.costs, counts(chosen.keep)
        macs, params, size = (
            costs.cost_at(kind, kept) / max(1.0, costs.whole_of(kind)) for kind in ("macs", "params", "bytes")
        )
        run.working(f"Trying plan {len(self._known) + 1}, which leaves {100 * macs:.1f} % of the MACs")
        result = recovered_cut(run, chosen.keep)
        moved = self._limits is not None and MAX_DRIFT in self._limits.limits
        with on_disk(result.model, result.weights, None) as (proto, weights):
            session = open_session(proto, weights, name="the pruned model", threads=run.config.threads)
            quality = self._evaluator.quality(session, moved=moved)
        holds = None if self._limits is None else self._limits.holds(quality)
        return Trial(asked, macs, params, size, quality, holds)


def find_plan(run: Run, choose: Choose) -> tuple[Chosen, Search]:
    """Return the choice that is to be carried out, and what was tried.

    With budgets it is the one that these lead to, which has to hold the limits as well; without, the one that leaves
    the fewest multiply-adds of those that were found to hold them. A curve adds trials, and has no say in it.

    Raises:
        InputError: as the stages.
        UnreachableError: the budgets, or any cut at all, lose more than the limits allow.
    """
    limits, trials = run.limits, Trials(run, choose)
    given = counts(class_masks(run.analysis, run.class_outputs))
    least = min(1.0, least_left(run.analysis, run.goal, given).get("macs", 1.0) * (1 + 1e-9))
    if limits is None or run.goal.budget.explicit:
        chosen = choose(run.goal)
        tried = trials.of(chosen)
        if tried is not None and limits is not None and not tried.trial.holds:
            closest = _cheapest(trials, limits, tried.trial.macs)
            raise UnreachableError(
                _beyond(limits, tried.trial, None if closest is None else closest.trial), "loss-too-high"
            )
    else:
        tried = _cheapest(trials, limits, least)
        if tried is None:
            raise UnreachableError(
                _nothing_holds(limits, [made.trial for made in trials.made]),
                "loss-too-high" if trials.made else "nothing-to-prune",
            )
        chosen = tried.chosen
    if run.config.pareto is not None:
        for share in np.linspace(HIGHEST, least, GRID):
            trials.at(float(share))
    made = tuple(replace(other.trial, chosen=other is tried) for other in trials.made)
    return chosen, Search({} if limits is None else limits.limits, trials.tried_on.source, made)


def _cheapest(trials: Trials, limits: LossLimits, low: float) -> Tried | None:
    """Search from a share of the multiply-adds up to all of them; None: no cut that was tried holds."""

    def evaluate(share: float) -> tuple[float, float]:
        tried = trials.at(share)
        return (1.0, -1.0) if tried is None else (tried.trial.macs, limits.excess(tried.trial.quality))

    best = find_cheapest(evaluate, low, 1.0).best
    return None if best is None else trials.at(best.asked)


def _beyond(limits: LossLimits, trial: Trial, closest: Trial | None) -> str:
    """Return what is said of budgets that cost too much."""
    start = (
        f"The plan at these budgets, with {100 * trial.macs:.1f} % of the MACs left, {limits.missed(trial.quality)} "
        f"(on {trial.quality.samples} held-out images), so nothing was written; "
    )
    if closest is None:
        return f"{start}no cut was found that holds that, so allow more."
    return (
        f"{start}the fewest at which that holds are {100 * closest.macs:.1f} %, with {100 * closest.params:.1f} % of "
        f"the parameters: ask for --macs {_asking(closest)}, or allow more."
    )


def _asking(trial: Trial) -> str:
    """Return a short percentage that leads to the plan of a trial, as all do from its MACs to what was asked for."""
    most = trial.macs if trial.asked is None else trial.asked
    shares = (math.ceil(100 * trial.macs * 10**digits) / 10**digits for digits in range(9))
    return f"{next((share for share in shares if share <= 100 * most), 100 * most):.9g}%"


def _nothing_holds(limits: LossLimits, trials: list[Trial]) -> str:
    """Return what is said where every cut loses too much."""
    if not trials:
        return "Nothing was pruned: no multiply-adds hang on a channel that may go; `onnxprune inspect` says why."
    mildest = max(trials, key=lambda trial: trial.macs)
    closest = min(trials, key=lambda trial: limits.excess(trial.quality))
    less = "" if closest is mildest else (
        f"; the closest of {len(trials)} plans, with {100 * closest.macs:.1f} % left, {limits.missed(closest.quality)}"
    )  # fmt: skip
    return (
        f"Even the mildest cut, with {100 * mildest.macs:.1f} % of the MACs left, {limits.missed(mildest.quality)} "
        f"(on {mildest.quality.samples} held-out images){less}, so nothing was written; allow more, or take what a "
        "budget such as --macs 50% costs."
    )


def _key(keep: Keep) -> bytes:
    return b"".join(name.encode() + b"\0" + np.packbits(keep[name]).tobytes() for name in sorted(keep))
