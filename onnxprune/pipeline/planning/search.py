"""Choosing a plan by what it loses: plans are cut, recovered and measured on data that no score or recovery saw."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxprune.analysis.analysis import counts
from onnxprune.errors import InputError, UnreachableError
from onnxprune.evaluation.foresight import Foreseen, foresee
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.planning.plans import class_masks
from onnxprune.pipeline.planning.steps import Chosen, Keep
from onnxprune.pipeline.planning.trial_cut import cut_and_stages
from onnxprune.pipeline.planning.widths import least_left
from onnxprune.pipeline.stages import Judged
from onnxprune.runtime import Session, open_session
from onnxprune.selection.budget import Budget
from onnxprune.selection.goal import Goal
from onnxprune.selection.loss_limits import FINEST, MAX_DRIFT, MAX_DROP, LossLimits
from onnxprune.selection.search import find_cheapest
from onnxprune.values.amount import percent
from onnxprune.values.bounds import loss_bound
from onnxprune.values.outcome import Quality
from onnxprune.values.trials import Search, Trial

_HALVINGS = 12
_ROUNDING = 1e-9

GRID = 10
"""Budgets of a curve, beside the plans that a search tries."""

HIGHEST = 0.95
"""The mildest of them."""

Choose = Callable[[Goal], Chosen]
"""From what is asked for to the channels that stay."""


SERVES = 0.9
"""The multiply-adds of a plan that is worth having although nothing can be shown of it."""

MILDER = (0.95, 0.98, 1 - 1e-9)
"""What is tried in its place where that loses something visible."""


HARDLY_WRONG = 0.02
"""Share of the outputs' squares that may be wrong without much of a change in the answers."""

FORESEE = 30
"""So many samples have to judge for a loss that they foresee to be believed to be small."""


SHARES = (0.4, 0.4, 0.2)
"""Parts of the error that the mildest plans may be asked at, each by itself."""

ALONE = (1.0,)
"""The same where the samples are too few to show anything at a part of it."""


BETWEEN = (0.25, 0.5, 0.75)
"""Where milder plans lie than the one that is foreseen to hold, between it and all, on a logarithmic scale."""


@dataclass(frozen=True, eq=False)
class Tried:
    """A trial and the channels that stayed in it.

    Attributes:
        excess: by how much of itself a limit is foreseen to be missed.
        needed: part of the error (1 less the confidence) at which the limits are still shown to hold; inf: none of it.
        wrong: error of the outputs on the samples that judge, as a share of their squares; inf: not known.
        judges: how many samples judge.
    """

    trial: Trial
    chosen: Chosen
    excess: float = 0.0
    needed: float = math.inf
    wrong: float = math.inf
    judges: int = 0

    def foreseen_to_miss(self, limits: LossLimits) -> bool:
        """Whether the samples that judge foresee that more of top-1 is lost than the limit allows.

        Few samples foresee badly: where hardly anything of the outputs is wrong on them, that has the last word, and
        where they are very few, so it has where more is wrong.
        """
        loss = self.trial.foreseen
        if loss is None or MAX_DROP not in limits.limits or self.wrong <= HARDLY_WRONG:
            return False
        return loss > limits.limits[MAX_DROP] or self.judges < FORESEE


@dataclass(frozen=True, eq=False)
class Passed:
    """A plan that the held-out samples showed to hold the limits, and the part of the error that it was asked at."""

    tried: Tried
    error: float


class Trials:
    """Tries plans, each once, by the method, policy and recovery of a run.

    What judges (calibration samples that nothing was fitted to) foresees what a plan loses, and so leads the search.
    What was held out beside these shows whether limits hold.
    """

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
        judge = run.samples.judge if len(run.samples.judge) else run.samples.calibration
        self._judging = run.evaluator_on(replace(run.samples, measured=judge))
        self._known: dict[bytes, Tried] = {}
        self._stages: dict[bytes, Judged] = {}
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
            self._known[key] = self._trial(chosen, asked)
        return self._known[key]

    def stages(self, chosen: Chosen) -> Judged | None:
        """Return the stages of the recovery of a choice that was tried; None where they are no longer held."""
        return self._stages.get(_key(chosen.keep))

    def _hold(self, key: bytes, stages: Judged | None) -> None:
        """Hold the stages of the latest trials, as far as their values fit into the memory."""
        if stages is not None:
            self._stages[key] = stages
        while sum(held.size for held in self._stages.values()) > self._run.config.memory:
            del self._stages[next(iter(self._stages))]

    def _trial(self, chosen: Chosen, asked: float | None) -> Tried:
        run, costs, kept = self._run, self._run.analysis.costs, counts(chosen.keep)
        macs, params, size = (
            costs.cost_at(kind, kept) / max(1.0, costs.whole_of(kind)) for kind in ("macs", "params", "bytes")
        )
        run.working(f"Trying plan {len(self._known) + 1}, which leaves {percent(macs)} of the MACs")
        result, stages = cut_and_stages(run, chosen.keep)
        self._hold(_key(chosen.keep), stages)
        limits = LossLimits({}) if self._limits is None else self._limits
        moved = MAX_DRIFT in limits.limits
        with on_disk(result.model, result.weights, None) as (proto, weights):
            session = open_session(proto, weights, name="the pruned model", threads=run.config.threads)
            quality = self._evaluator.quality(session, moved=moved)
            foreseen = self._foreseen(session) if MAX_DROP in limits.limits else None
            excess = self._excess(session, foreseen, limits.limits)
            needed = self._needed(session, quality, moved=moved)
        holds = None if self._limits is None else self._limits.shown(quality)
        loss = None if foreseen is None else foreseen.lost - foreseen.gained
        wrong = math.inf if stages is None else stages.best.error
        judges = len(run.samples.judge) if run.samples is not None else 0
        return Tried(Trial(asked, macs, params, size, quality, loss, holds), chosen, excess, needed, wrong, judges)

    def _needed(self, session: Session, quality: Quality, *, moved: bool) -> float:
        limits, error = self._limits, 1 - self._run.config.confidence
        if limits is None or not limits.shown(quality):
            return math.inf
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            bounds = self._evaluator.bounds(session, 1 - middle * error, moved=moved)
            low, high = (low, middle) if limits.shown(replace(quality, bounds=bounds)) else (middle, high)
        return high

    def _foreseen(self, session: Session) -> Foreseen:
        return foresee(self._margins, self._judging.answers(), self._judging.answers(session))

    def _excess(self, session: Session, foreseen: Foreseen | None, limits: Mapping[str, float]) -> float:
        """Return by how much of itself a limit is foreseen to be missed, by what the held-out samples would show."""
        bounds = {}
        if foreseen is not None:
            samples = len(self.tried_on)
            lost, gained = foreseen.lost * samples, foreseen.gained * samples
            bounds[MAX_DROP] = loss_bound(lost, gained, samples, self._run.config.confidence)
        if MAX_DRIFT in limits:
            bounds[MAX_DRIFT] = self._judging.moved(session)
        return max(((bound - limits[name]) / (limits[name] or FINEST) for name, bound in bounds.items()), default=-1.0)

    @cached_property
    def _margins(self) -> NDArray[np.float64]:
        """Margins of the original on all calibration samples."""
        samples = self._run.calibration_samples
        found = self._run.evaluator_on(replace(samples, measured=samples.calibration)).answers().margin
        assert found is not None
        return found


@dataclass(frozen=True, eq=False)
class Found:
    """What a search comes to.

    Attributes:
        chosen: what is to be carried out.
        search: what was tried; None: nothing was.
        stages: of the recovery of what was chosen, as far as they are known from its trial.
    """

    chosen: Chosen
    search: Search | None = None
    stages: Judged | None = None


def find_plan(run: Run, choose: Choose) -> Found:
    """Return the choice that is to be carried out, and what was tried.

    With budgets it is the one that these lead to, which must not be seen to miss the limits; without, the one that
    leaves the fewest multiply-adds of those that were shown to hold them, see `_shown_to_hold`, or else one that takes
    little and lost nothing visible. A curve adds trials, and has no say in it.

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
        if tried is not None and limits is not None and limits.visibly_missed(tried.trial.quality):
            found, confidence = _shown_to_hold(run, trials, limits, tried.trial.macs), run.config.confidence
            closest = None if found is None else found.tried.trial
            raise UnreachableError(
                _beyond(limits, tried.trial, closest, searched=limits.can_be_shown(len(trials.tried_on), confidence)),
                "loss-too-high",
            )
        shown, error = tried is not None and limits is not None and limits.shown(tried.trial.quality), 1.0
    else:
        passed = _shown_to_hold(run, trials, limits, least)
        shown, error = passed is not None, 1.0 if passed is None else passed.error
        tried = _careful(trials, limits, least) if passed is None else passed.tried
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
    confidence = 1 - error * (1 - run.config.confidence)
    search = Search({} if limits is None else limits.limits, trials.tried_on.source, made, shown, confidence)
    return Found(chosen, search, trials.stages(chosen))


def _shown_to_hold(run: Run, trials: Trials, limits: LossLimits, low: float) -> Passed | None:
    """Return the trial with the fewest multiply-adds of those that are shown to hold the limits, at least `low`.

    The samples that judge lead the search for which plans are tried: the cheapest that is foreseen to hold, those
    around it, and some milder ones, as what is foreseen may be wrong. Then the held-out samples are asked of the plans,
    see `cheapest_shown`. None where they are too few to show it of any plan.
    """
    if not limits.can_be_shown(len(trials.tried_on), run.config.confidence):
        return None

    def evaluate(share: float) -> tuple[float, float]:
        tried = trials.at(share)
        return (1.0, -1.0) if tried is None else (tried.trial.macs, tried.excess)

    found = find_cheapest(evaluate, low, 1.0).best
    if found is not None:
        for part in BETWEEN:
            trials.at(found.cost**part)
    error = 1 - run.config.confidence
    enough = limits.can_be_shown(len(trials.tried_on), 1 - SHARES[0] * error)
    return cheapest_shown(trials.made, SHARES if enough else ALONE)


def cheapest_shown(made: Sequence[Tried], shares: Sequence[float] = SHARES) -> Passed | None:
    """Return the plan with the fewest multiply-adds of those that the held-out samples show to hold the limits.

    They are asked of one plan after the other, the mildest first. The first ones may be asked at a part of the error
    each (`shares`); what a plan passed at is added to the next one's, and is lost with a plan that fails. As the order
    does not depend on these samples, the chance that any plan passes wrongly is no more than the whole error (the
    fallback procedure: Wiens, A fixed sequence Bonferroni procedure, 2003).
    """
    ordered = sorted(made, key=lambda tried: -tried.trial.macs)
    shares = shares[: len(ordered)]
    best, carried = None, 0.0
    for place, tried in enumerate(ordered):
        level = carried + (shares[place] / sum(shares) if place < len(shares) else 0.0)
        passes = level > 0 and tried.needed <= level + _ROUNDING
        best, carried = (Passed(tried, level), level) if passes else (best, 0.0)
    return best


def _careful(trials: Trials, limits: LossLimits, low: float) -> Tried | None:
    """Return the mildest plan that is worth having and lost nothing visible or foreseen, or one that is milder still.

    Where all of these lose something, the mildest of all that were tried and lost nothing visible.
    """
    for share in (SERVES, *MILDER):
        tried = trials.at(max(share, low))
        if tried is not None and not limits.visibly_missed(tried.trial.quality) and not tried.foreseen_to_miss(limits):
            return tried
    others = [tried for tried in trials.made if not limits.visibly_missed(tried.trial.quality)]
    return max(others, key=lambda tried: tried.trial.macs, default=None)


def _beyond(limits: LossLimits, trial: Trial, closest: Trial | None, *, searched: bool) -> str:
    """Return what is said of budgets that cost too much."""
    start = (
        f"The plan at these budgets, with {percent(trial.macs)} of the MACs left, {limits.missed(trial.quality)} "
        f"(on {trial.quality.samples} held-out images), so nothing was written; "
    )
    if closest is None and searched:
        return f"{start}no cut was found that holds that, so allow more."
    if closest is None:
        return f"{start}these are too few to look for a plan that they show to hold that, so ask for less to go."
    return (
        f"{start}the fewest at which that holds are {percent(closest.macs)}, with {percent(closest.params)} of "
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
        return (
            "Nothing was pruned: no multiply-adds hang on a channel that may go, within what is kept by --keep, "
            "--min-keep and the blocks of --round-to; `onnxprune inspect` says which are free."
        )
    mildest = max(trials, key=lambda trial: trial.macs)
    closest = min(trials, key=lambda trial: limits.excess(trial.quality))
    less = "" if closest is mildest else (
        f"; the closest of {len(trials)} plans, with {percent(closest.macs)} left, {limits.missed(closest.quality)}"
    )  # fmt: skip
    return (
        f"Even the mildest cut, with {percent(mildest.macs)} of the MACs left, {limits.missed(mildest.quality)} "
        f"(on {mildest.quality.samples} held-out images){less}, so nothing was written; allow more, or take what a "
        "budget such as --macs 50% costs."
    )


def _key(keep: Keep) -> bytes:
    return b"".join(name.encode() + b"\0" + np.packbits(keep[name]).tobytes() for name in sorted(keep))
