"""Making the plan of a run: given by a file of keep masks, for a goal, or searched for by what is lost."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from onnxprune.analysis.analysis import counts
from onnxprune.errors import UnreachableError
from onnxprune.importance.score_file import score_bytes
from onnxprune.latency.budget import latency_notes
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.planned import Planned
from onnxprune.pipeline.planning.branches import BranchSearch, Gone, Within
from onnxprune.pipeline.planning.latency import hold_latency
from onnxprune.pipeline.planning.limits import refuse_alike
from onnxprune.pipeline.planning.plans import choose, class_masks, plan_of_masks, recovery_settings
from onnxprune.pipeline.planning.search import Choose, Found, find_plan
from onnxprune.pipeline.planning.steps import Chosen, Keep, choose_in_steps, scored
from onnxprune.pipeline.planning.widths import unused_notes
from onnxprune.pipeline.state import removed_if_refused
from onnxprune.report.curve import curve_files
from onnxprune.report.requests import target_words
from onnxprune.selection.goal import Goal
from onnxprune.selection.loss_limits import CLASS_DROP, MAX_DRIFT, MAX_DROP
from onnxprune.values.branches import emptied
from onnxprune.values.plan import PROTECT, Plan
from onnxprune.values.trials import Search


def make_plan(run: Run) -> Planned:
    """Return the plan of a run.

    Raises:
        InputError: what the method or a search goes by is missing.
        UnreachableError: a budget or a limit cannot be met, or nothing would be removed.
    """
    run.begin("planning")
    if run.imported is not None and run.imported.masks_alone:
        return _given(run, run.imported.keep)
    refuse_alike(run)
    with removed_if_refused(run.state):
        select = _chooser(run)
        outcome = find_plan(run, select) if _tries(run) else Found(select(run.goal))
        found, search = outcome.chosen, outcome.search
        plan = _recorded(run, found.keep)
        if plan.removed == 0:
            raise UnreachableError(_nothing(run), "nothing-to-prune")
    notes = (*run.model.notes, *found.notes, *latency_notes(run.analysis, run.timing, counts(found.keep)))
    if search is None or run.goal.budget.explicit:
        notes = (*notes, *unused_notes(run.analysis, run.goal, counts(found.keep)))
    if run.config.pareto is not None and "svg" not in run.config.curve_written:
        notes = (*notes, 'There is no drawing of the curve, which takes matplotlib: pip install "onnxprune[plot]".')
    if run.limits is not None and run.config.recipe is not None:
        notes = (*notes, "The limits on the loss chose the plan by its recovered weights, before the training.")
    return Planned(plan, notes, search, _files(run, found, search), stages=outcome.stages)


def _given(run: Run, masks: Keep) -> Planned:
    """Return the plan of the keep masks of a file, which is as explicit as a budget."""
    keep = {**masks, **class_masks(run.analysis, run.class_outputs)}
    plan = _as_plan(run, keep, {})
    if plan.removed == 0:
        raise UnreachableError(f"Nothing was pruned: {run.config.scores} keeps every channel.", "nothing-to-prune")
    return Planned(plan, run.model.notes, given=True)


def _tries(run: Run) -> bool:
    """Whether plans are tried before one is taken."""
    return run.limits is not None or run.config.pareto is not None


def _chooser(run: Run) -> Choose:
    """Return what chooses what stays, for one goal after the other, until a budget of latency holds as timed."""
    within = _channels(run)
    own = run.goal.leaves_out
    search = BranchSearch(run, within) if own == "only" or (own == "allowed" and run.analysis.branches) else None

    def chosen(goal: Goal) -> Chosen:
        found = within(goal, frozenset()) if search is None else search(goal)
        gone = emptied(found.keep)

        def again(corrected: Goal) -> Keep:
            if search is not None and goal.leaves_out == "only":
                return search(corrected).keep
            return within(corrected, gone).keep

        keep, notes = hold_latency(run.model, run.analysis, goal, run.timing, found.keep, again, run.listener)
        return replace(found, keep=keep, notes=(*found.notes, *notes))

    return chosen


def _channels(run: Run) -> Within:
    """Return what chooses the channels that stay where some groups are gone, by scores that are computed once."""
    if run.imported is not None and run.imported.scores is not None:
        known = run.imported.scores
        rule = (run.method.method, run.method.options, run.class_outputs)
        return lambda goal, gone: Chosen(choose(run.analysis, known, goal, *rule, gone=gone), known, known.notes)
    own = run.goal
    limited = _tries(run) or own.budget.latency is not None or own.leaves_out != "never"
    first = scored(run, limited=True) if limited else None

    def chosen(goal: Goal, gone: Gone) -> Chosen:
        return choose_in_steps(replace(run, goal=goal, state=run.state if goal == own else None), first, gone)

    return chosen


def _recorded(run: Run, keep: Keep) -> Plan:
    """Return the plan of what was chosen, with what was asked for in it."""
    limits = {} if run.limits is None else run.limits.limits
    held = {name: limits[name] for name in (MAX_DROP, MAX_DRIFT) if name in limits}
    in_steps = {"steps": run.config.steps} if run.config.steps > 1 else {}
    return _as_plan(run, keep, {**run.goal.to_json(), **held, **in_steps})


def _as_plan(run: Run, keep: Keep, request: Mapping[str, object]) -> Plan:
    config = run.config
    plan = plan_of_masks(
        run.model,
        run.analysis,
        keep,
        run.method.name,
        run.method.options,
        request=request,
        seed=config.seed,
        data=run.data_facts,
    )
    limit = {} if config.max_class_drop is None else {CLASS_DROP: config.max_class_drop}
    return replace(
        plan,
        request={**plan.request, **limit, **_protected(run)},
        recovery=recovery_settings(config.recovered_by, 0 if run.samples is None else run.samples.fitted),
        classes=run.classes,
    )


def _protected(run: Run) -> dict[str, list[str]]:
    """Return what a plan's request says of protected classes."""
    names = () if run.samples is None else run.samples.protected_names
    return {PROTECT: list(names)} if names else {}


def _files(run: Run, found: Chosen, search: Search | None) -> dict[Path, bytes]:
    """Return the scores and the curve, where they are asked for."""
    files: dict[Path, bytes] = {}
    if run.config.scores_output is not None and found.scores is not None:
        keep = {group.name: found.keep[group.name] for group in run.analysis.prunable}
        content = score_bytes(
            found.scores, keep, run.method.name, run.method.options, run.model.digest, run.model.arrangement
        )
        files[run.config.scores_output] = content
    if search is not None:
        files.update(curve_files(search, run.config.curve_written))
    return files


def _nothing(run: Run) -> str:
    if run.goal.explicit:
        asked = ", ".join(target_words(run.goal.to_json())) or "what was asked for"
        more = "ask for more (a larger --ratio, a smaller --macs)"
        return f"Nothing was pruned: the budget already holds ({asked}); {more}."
    return f"Nothing was pruned: no channel is below the threshold of {run.method.name}; ask for a --ratio or --macs."
