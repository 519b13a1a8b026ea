"""The main job: from a model and a folder of samples to a smaller model that is checked, measured and then written."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxprune.analysis.analyse import counts
from onnxprune.errors import InputError, UnreachableError
from onnxprune.graph.loaded import load
from onnxprune.graph.storage.paths import check_input, check_outputs, data_files
from onnxprune.graph.storage.staging import Staging
from onnxprune.importance.method import find_method
from onnxprune.latency.profile import Device
from onnxprune.pipeline.config import Settings
from onnxprune.pipeline.context import Job, Ranking
from onnxprune.pipeline.execution.accept import CLASS_DROP, check_class_drop
from onnxprune.pipeline.execution.quantize import check_quantizing, try_quantizing
from onnxprune.pipeline.execution.retrain import check_retraining
from onnxprune.pipeline.execution.write import finish, outlined, publish
from onnxprune.pipeline.opening import inspect
from onnxprune.pipeline.planning.imported import read_score_file, score_bytes
from onnxprune.pipeline.planning.latency import Keep, Timing, hold_latency, latency_notes, settle_timing
from onnxprune.pipeline.planning.limits import MAX_DRIFT, MAX_DROP, Guard, is_wanted, open_guard
from onnxprune.pipeline.planning.plans import choose, class_masks, plan_of_masks, recovery_settings, versions
from onnxprune.pipeline.planning.search import Choose, find_plan
from onnxprune.pipeline.planning.steps import Chosen, choose_in_steps, scored
from onnxprune.pipeline.planning.widths import least_left, policy_of, refuse_unreachable
from onnxprune.pipeline.result import Extra, Result, Tell, no_extra, unheard
from onnxprune.pipeline.samples import open_samples
from onnxprune.pipeline.state import (
    Journal,
    forgotten_if_refused,
    kept_until_written,
    open_journal,
    read_journal,
)
from onnxprune.report.curve import curve_files, require_plots
from onnxprune.runtime import open_session
from onnxprune.selection.goal import Goal
from onnxprune.values.plan import Plan
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import Scores
from onnxprune.values.trials import Search


def run(settings: Settings, track: Track = silent, say: Tell = unheard, extra: Extra = no_extra) -> Result:
    """Prune a model.

    Nothing is written unless every check holds; then the plan, what `extra` makes, and the model are, all in one step.

    Raises:
        InputError: bad input or usage.
        UnreachableError: a budget that cannot be met, nothing to prune, or a poor result nobody asked for.
        VerificationError: the cut model failed a check.
    """
    ranking = _checked(settings)
    begun = None if settings.journal is None else read_journal(settings.journal, resume=settings.resume)
    job = _open(settings, _outputs(settings), track, say, extra)
    job, timing = _timed(job)
    settings = job.settings
    say("least", least_left(job.analysis, settings.goal))
    if not settings.trim_head:  # then it depends on the data how wide the head is
        refuse_unreachable(job.analysis, settings.goal, {})
    check_retraining(settings, job.model)
    check_quantizing(settings, job.model)
    known = (
        None if settings.scores is None else read_score_file(settings.scores, job.analysis.prunable, job.model.digest)
    )
    if known is not None:
        ranking = Ranking(known.method, known.options)
    if known is not None and known.scores is None:
        return _run_masks(job, ranking, known.keep)
    if _has_data(settings) or (known is None and ranking.needs_data):
        job = _with_samples(job, tries=is_wanted(settings))
    check_class_drop(settings.max_class_drop, job.samples, measured=settings.check_accuracy)
    guard = open_guard(settings, job.samples)
    searches = guard is not None and not settings.goal.budget.explicit
    journal: Journal | None = None
    if settings.journal is not None and known is None and not searches:  # a search is no one sequence of steps
        journal = open_journal(settings.journal, begun, _run_facts(job, ranking), job.analysis.free)
    tries = guard is not None or settings.pareto is not None
    limited = tries or settings.goal.budget.latency is not None
    scores = None if known is None else known.scores
    select = _held_to_latency(job, timing, _chooser(job, ranking, scores, journal, limited=limited))
    with forgotten_if_refused(journal):
        found, search = find_plan(job, guard, select) if tries else (select(settings.goal), None)
        chosen = _plan(job, ranking, found.keep, guard)
        if chosen.removed == 0:
            raise UnreachableError(_nothing(settings, ranking.method.name))
    notes = (*job.model.notes, *found.notes, *latency_notes(job.analysis, timing, counts(found.keep)))
    if guard is not None and settings.recipe is not None:
        notes = (*notes, "The limits on the loss chose the plan by its recovered weights, before the training.")
    job = _with_files(job, ranking, found, search)
    with kept_until_written(journal):
        return _carry_out(job, chosen, notes, search, journal)


def _checked(settings: Settings) -> Ranking:
    """Refuse what cannot be, before anything is read; return what channels are to be ranked by.

    Raises:
        InputError: see above.
    """
    method = find_method(settings.method)
    options = method.settle(settings.options)
    policy_of(method, options, settings.goal.policy)
    recovery_settings(settings.recovery)
    if settings.pareto is not None:
        require_plots()
    if settings.trim_head and not settings.classes:
        raise InputError("--trim-head cuts the classifier to the classes of --classes; name them.")
    _check_steps(settings)
    return Ranking(method, options)


def _outputs(settings: Settings) -> dict[str, Path | None]:
    """Return where a run writes, by what messages call it."""
    return {
        "the model": settings.written,
        "the plan": settings.plan_written,
        "the labels": settings.labels_written,
        "the quantized model": settings.quantized_written,
        "the saved scores": settings.scores_output,
        **settings.curve_outputs,
        "the journal": settings.journal,
    }


def _timed(job: Job) -> tuple[Job, Timing]:
    """Settle what a run goes by of latency, and the width block."""
    settings, device = job.settings, Device(job.settings.threads)
    analysis, goal, timing = settle_timing(
        job.model, job.analysis, settings.goal, settings.latency_table, device, job.track, job.say
    )
    return replace(job.wishing(goal), analysis=analysis), timing


def _plan(job: Job, ranking: Ranking, keep: Keep, guard: Guard | None) -> Plan:
    """Return the plan of what was chosen, with what was asked for in it."""
    settings, limits = job.settings, {} if guard is None else guard.limits
    held = {name: limits[name] for name in (MAX_DROP, MAX_DRIFT) if name in limits}
    in_steps = {"steps": settings.steps} if settings.steps > 1 else {}
    return plan_of_masks(
        job.model,
        job.analysis,
        keep,
        ranking.method.name,
        ranking.options,
        request={**settings.goal.to_json(), **held, **in_steps},
        seed=settings.seed,
        data=job.data_facts,
    )


def _with_files(job: Job, ranking: Ranking, found: Chosen, search: Search | None) -> Job:
    """Have the scores and the curve written beside the model, where they are asked for."""
    files: dict[Path, bytes] = {}
    if job.settings.scores_output is not None and found.scores is not None:
        keep = {group.name: found.keep[group.name] for group in job.analysis.prunable}
        content = score_bytes(found.scores, keep, ranking.method.name, ranking.options, job.model.digest)
        files[job.settings.scores_output] = content
    if search is not None:
        files.update(curve_files(search, job.settings.curve_written))
    more = job.extra
    return replace(job, extra=lambda result: {**more(result), **files})


def _check_steps(settings: Settings) -> None:
    """Refuse numbers of steps, and what does not go with several.

    Raises:
        InputError: see above.
    """
    if settings.steps < 1:
        raise InputError(f"--steps is a number from 1 up, not {settings.steps}.")
    if settings.steps > 1 and (settings.scores or settings.scores_output):
        raise InputError("A file of scores holds those of one step; leave out --steps, --scores or --save-scores.")
    if settings.steps == 1 and settings.resume:
        raise InputError("--resume goes on with a run in steps; give the number of --steps that it was begun with.")
    if settings.resume and is_wanted(settings) and not settings.goal.budget.explicit and settings.data is not None:
        raise InputError(
            "--resume goes on with the steps of one plan, and without a budget many plans are tried; give the budget, "
            "or the --alpha, that the run was begun with."
        )


def _run_facts(job: Job, ranking: Ranking) -> dict[str, Any]:
    """Return what the masks of a run follow from, by names that people know: its journal is of no other run."""
    settings, data = job.settings, job.data_facts
    return {
        "model": job.model.digest,
        "data": data.get("digest"),
        "preprocessing": data.get("preprocess"),
        "classes": dict(job.classes),
        "method": ranking.method.name,
        "method settings": dict(ranking.options),
        **settings.goal.to_json(),
        "steps": settings.steps,
        "recovery": settings.recovery,
        "approximate groups": settings.approximate,
        "trim_head": settings.trim_head,
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "threads": settings.threads,
        "versions": versions(),
    }


def _chooser(job: Job, ranking: Ranking, known: Scores | None, journal: Journal | None, *, limited: bool) -> Choose:
    """Return what chooses the channels that stay, for one goal after the other, by scores that are computed once.

    With `limited` the scores serve any budget of multiply-adds as well, whatever the settings ask for.
    """
    if known is not None:
        rule = (ranking.method, ranking.options, job.class_outputs)
        return lambda goal: Chosen(choose(job.analysis, known, goal, *rule), known, known.notes)
    first = scored(job, ranking, limited=True) if limited else None
    own = job.settings.goal
    return lambda goal: choose_in_steps(job.wishing(goal), ranking, journal if goal == own else None, first)


def _held_to_latency(job: Job, timing: Timing, select: Choose) -> Choose:
    """Return what chooses until a budget of latency holds as timed, where there is one."""

    def again(goal: Goal) -> Keep:
        return select(goal).keep

    def chosen(goal: Goal) -> Chosen:
        found = select(goal)
        return replace(found, keep=hold_latency(job.model, job.analysis, goal, timing, found.keep, again, job.say))

    return chosen


def _has_data(settings: Settings) -> bool:
    """Whether anything is named that is data, or makes sense with data alone."""
    return settings.data is not None or settings.test is not None or bool(settings.classes)


def _run_masks(job: Job, ranking: Ranking, given: Keep) -> Result:
    """Cut as the keep masks of a file say, which is as explicit as a budget."""
    settings = job.settings
    if settings.explicit or settings.pareto is not None:
        what = "budget" if settings.explicit else "curve"
        raise InputError(f"{settings.scores} has keep masks and no scores, so no {what} can be given beside it.")
    if settings.scores_output is not None:
        raise InputError(f"{settings.scores} has keep masks and no scores, so there are none to save.")
    if _has_data(settings):
        job = _with_samples(job)
    check_class_drop(settings.max_class_drop, job.samples, measured=settings.check_accuracy)
    keep = {**given, **class_masks(job.analysis, job.class_outputs)}
    chosen = plan_of_masks(
        job.model, job.analysis, keep, ranking.method.name, ranking.options, seed=settings.seed, data=job.data_facts
    )
    if chosen.removed == 0:
        raise UnreachableError(f"Nothing was pruned: {settings.scores} keeps every channel.")
    return _carry_out(replace(job, settings=replace(settings, force=True)), chosen, job.model.notes)


def _carry_out(
    job: Job, chosen: Plan, notes: tuple[str, ...], search: Search | None = None, journal: Journal | None = None
) -> Result:
    """Write the plan alone, or finish the job, by the plan and the recovery that is asked for."""
    settings = job.settings
    limit = {} if settings.max_class_drop is None else {CLASS_DROP: settings.max_class_drop}
    request = {**chosen.request, **limit}
    chosen = replace(chosen, request=request, recovery=recovery_settings(settings.recovery), classes=job.classes)
    if not settings.dry_run:
        return finish(job, chosen, notes=notes, search=search, journal=journal)
    result = outlined(job, chosen, notes, search)
    with Staging() as staging:
        publish(staging, job, result)
    return result


def replay(
    settings: Settings, chosen: Plan, track: Track = silent, say: Tell = unheard, extra: Extra = no_extra
) -> Result:
    """Apply a plan to its model: cut, verify, measure where there is data, write.

    Raises:
        InputError: the plan is for another model, or its classes are not those of the data; else as `run`.
    """
    settings = replace(
        settings,
        classes=tuple(chosen.classes),
        trim_head=bool(chosen.request.get("trim_head")),
        approximate=chosen.request.get("allow") == "approximate",
    )
    job = _open(settings, {**_outputs(settings), "the plan": None}, track, say, extra)  # it may be the given one
    check_quantizing(settings, job.model)
    tried = bool({MAX_DROP, MAX_DRIFT} & set(chosen.request))  # on a part of the data that no score saw, as here
    if settings.data is not None:
        job = _with_samples(job, tries=tried)
    if job.samples is not None and job.classes != chosen.classes:
        raise InputError(
            f"The plan's classes are the outputs {_classes(chosen.classes)} of the model, in this data "
            f"{_classes(job.classes)}; give the --labels that the plan was made with."
        )
    return finish(job, chosen, notes=job.model.notes, write_plan=False)


def _classes(classes: Mapping[str, int]) -> str:
    return ", ".join(f"{output} ({name})" for name, output in classes.items())


def _open(settings: Settings, outputs: Mapping[str, Path | None], track: Track, say: Tell, extra: Extra) -> Job:
    """Read and analyse the model, after making sure that nothing that is read would be overwritten."""
    inputs = {
        "the input model": settings.model,
        "the sample data": settings.data,
        "the test data": settings.test,
        "the given labels": settings.labels,
        "the scores": settings.scores,
        "the latency table": settings.latency_table,
    }
    check_input(settings.model)
    check_outputs(outputs, inputs)
    say("working", "Reading the model")
    model = load(settings.model)
    check_outputs(outputs, data_files(model.weights))
    analysis = inspect(model, approximate=settings.approximate, trim_head=settings.trim_head)
    say("analysis", analysis)
    return Job(settings, model, analysis, None, track, say, extra)


def _with_samples(job: Job, *, tries: bool = False) -> Job:
    """Open the data; the session that this takes does not outlive it, as no two large ones should live at once."""
    settings, model = job.settings, job.model
    job.say("working", "Opening the data")
    session = open_session(model.proto, model.weights, name=str(settings.model), threads=settings.threads)
    job = replace(job, samples=open_samples(settings, model, session, job.track, tries=tries))
    job.say("samples", job.samples)
    if settings.quantize is not None:
        job.say("working", "Trying to quantize the original")
        try_quantizing(job)
    return job


def _nothing(settings: Settings, method: str) -> str:
    if settings.goal.explicit:
        return "Nothing was pruned: the budget already holds; ask for more (a larger --ratio, a smaller --macs)."
    return f"Nothing was pruned: no channel is below the threshold of {method}; ask for a --ratio or --macs."
