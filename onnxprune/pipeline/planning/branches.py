"""Which branches are left out: the order in which they would go, and how many of them do, beside narrower widths.

They go in the order of what leaving them out does to the outputs, for what it saves, each given those before it; no
recovery is tried on the way. How many go is then tried out: widths meet the rest of the budgets, the cut is recovered
with some of the samples, and what has the least error on those that judge is taken.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from onnxprune.data import take
from onnxprune.errors import UnreachableError
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.planning.steps import Chosen
from onnxprune.pipeline.planning.trial_cut import recovered_error
from onnxprune.recovery.run import calls_of
from onnxprune.runtime import Session, open_session
from onnxprune.selection.budget import Budget
from onnxprune.selection.count import find_count
from onnxprune.selection.goal import Goal
from onnxprune.selection.limits import Limits
from onnxprune.surgery.mask import gated_model
from onnxprune.values.axes import FloatArray
from onnxprune.values.branches import Branch, groups_of

SAMPLES = 128
"""Samples that the outputs are compared on, and that trials are recovered with, at most."""

Gone = frozenset[str]
"""The groups of the branches that are left out."""

Within = Callable[[Goal, Gone], Chosen]
"""From what is asked for and what is left out to the channels that stay."""


class BranchSearch:
    """Chooses which branches go; what leaving them out does is measured once for a run."""

    def __init__(self, run: Run, within: Within) -> None:
        """Begin with no branch in the order."""
        self._run, self._within = run, within
        self._order = list[Branch]()
        self._next: Iterator[Branch] | None = None

    def __call__(self, goal: Goal) -> Chosen:
        """Return what stays, with as many branches left out as serve best.

        Raises:
            UnreachableError: the budgets cannot be met.
        """
        path = self._path(goal)
        if goal.leaves_out == "only":
            return self._chosen(goal, path)
        fit = self._run.calibration_samples.fit
        some = take(fit, min(SAMPLES, len(fit)), self._run.config.seed)
        found: dict[int, Chosen] = {}
        refused: list[UnreachableError] = []

        def error(count: int) -> float:
            try:
                found[count] = self._chosen(goal, path[:count])
            except UnreachableError as reason:
                refused.append(reason)
                return float("inf")
            self._run.working(f"Trying it with {count} of {len(self._run.analysis.branches)} branches left out")
            return recovered_error(self._run, found[count].keep, some)

        best = find_count(error, len(path))
        if best not in found:
            raise refused[-1]
        return found[best]

    def _chosen(self, goal: Goal, branches: Sequence[Branch]) -> Chosen:
        gone = groups_of(branches)
        if goal.leaves_out == "only":
            analysis = self._run.analysis
            keep = {group.name: np.ones(group.size, dtype=bool) for group in analysis.free}
            found = Chosen({**keep, **analysis.emptied(gone)}, None, ())
        else:
            found = self._within(goal, gone)
        names = ", ".join(branch.name for branch in branches)
        note = f"{len(branches)} of {len(self._run.analysis.branches)} branches are left out: {names}"
        return replace(found, notes=(*found.notes, note)) if branches else found

    def _path(self, goal: Goal) -> list[Branch]:
        """Return the branches in their order, up to where the budgets hold with all widths whole.

        Raises:
            UnreachableError: they never do, and nothing else may go.
        """
        if not self._run.analysis.branches:
            raise UnreachableError(
                "Nothing was pruned: the model has no branch that can be left out; give --branches never.",
                "nothing-to-prune",
            )
        limits = goal.budget.limits(self._run.analysis.costs)
        found: list[Branch] = []
        while not limits.hold(_emptied(found)):
            if len(found) == len(self._order):
                more = next(self._ordered(), None)
                if more is None:
                    break
                self._order.append(more)
            found.append(self._order[len(found)])
        return self._needed(found, limits) if goal.leaves_out == "only" else found

    def _needed(self, found: list[Branch], limits: Limits) -> list[Branch]:
        """Return the branches without those that the budgets hold without, the last one first.

        Raises:
            UnreachableError: the budgets never hold.
        """
        if not limits.hold(_emptied(found)):
            left = max(limits.used(_emptied(found)))
            raise UnreachableError(
                f"The budget cannot be met by branches alone: with all {len(found)} that may go left out the network "
                f"still takes {left:.2f} times what it may; give --branches allowed, or ask for less.",
                "over-budget",
            )
        for branch in reversed(found[:-1]):
            fewer = [other for other in found if other is not branch]
            found = fewer if limits.hold(_emptied(fewer)) else found
        return found

    def _ordered(self) -> Iterator[Branch]:
        if self._next is None:
            self._run.working("Measuring what each branch does")
            self._next = _in_order(self._run)
        return self._next


def _emptied(branches: Sequence[Branch]) -> dict[str, int]:
    return dict.fromkeys(groups_of(branches), 0)


def _in_order(run: Run) -> Iterator[Branch]:
    """Yield the branches that may go, the one that costs the outputs least for what it saves first."""
    analysis, goal = run.analysis, run.goal
    branches = [branch for branch in analysis.branches if goal.may_go(branch, analysis.by_name)]
    damage = _damage(run, branches)
    limits = (goal.budget if goal.budget.is_limited else Budget(macs=0.5)).limits(analysis.costs)
    gone: list[int] = []
    before = 0.0

    def price(number: int) -> float:
        left = _emptied([branches[other] for other in gone])
        more = {**left, **dict.fromkeys(branches[number].groups, 0)}
        saved = float((limits.used(left) - limits.used(more)).sum())
        return (damage([*gone, number]) - before) / saved if saved > 0 else float("inf")

    waiting = {number: price(number) for number in range(len(branches))}
    while waiting:
        fresh = set[int]()
        while (best := min(waiting, key=lambda number: (waiting[number], number))) not in fresh:
            waiting[best] = price(best)
            fresh.add(best)
        cost = waiting.pop(best)
        if cost == float("inf") or analysis.misfits([branches[number] for number in (*gone, best)]):
            continue
        gone.append(best)
        before = damage(gone)
        yield branches[best]


def _damage(run: Run, branches: list[Branch]) -> Callable[[list[int]], float]:
    """Return what tells how far the outputs move, as a share of their squares, when some branches are left out."""
    model, gates = gated_model(run.analysis, branches)
    session = open_session(model, run.model.weights, name="the model without branches", threads=run.config.threads)
    fit = run.calibration_samples.fit
    some = take(fit, min(SAMPLES, len(fit)), run.config.seed)
    calls = calls_of(run.model.graph, (some,), run.config.memory)
    kinds = {spec.name: spec.dtype for spec in session.inputs if spec.name in gates}
    answers = partial(_answers, session, calls, gates, kinds)
    truth = list(answers(frozenset()))
    total = sum(float(np.square(value).sum()) for value in truth) or 1.0
    known: dict[frozenset[int], float] = {}

    def damage(gone: list[int]) -> float:
        key = frozenset(gone)
        if key not in known:
            wrong = sum(
                float(np.square(found - right).sum()) if found.shape == right.shape else total
                for found, right in zip(answers(key), truth, strict=True)
            )
            known[key] = wrong / total if np.isfinite(wrong) else float("inf")
        return known[key]

    return damage


def _answers(
    session: Session, calls: Any, gates: tuple[str, ...], kinds: Mapping[str, str], gone: frozenset[int]
) -> Iterator[FloatArray]:
    """Yield the outputs of numbers, call by call, with the branches of these numbers left out."""
    factors = {gate: np.asarray(number not in gone, dtype=kinds[gate]) for number, gate in enumerate(gates)}
    for feeds in calls:
        for value in session.run({**feeds, **factors}).values():
            if value.dtype.kind == "f":
                yield value.astype(np.float64)
