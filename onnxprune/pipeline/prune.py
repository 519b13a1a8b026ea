"""The main job: from a model and a folder of samples to a smaller model that is checked, measured and then written."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxprune.analysis.analyse import Analysis, counts
from onnxprune.errors import InputError, UnreachableError
from onnxprune.graph.outputs import check_input, check_outputs, data_files
from onnxprune.graph.writing import Staging
from onnxprune.importance.method import Method, find_method
from onnxprune.pipeline.accuracy_guard import MAX_DRIFT, MAX_DROP, is_wanted, open_guard
from onnxprune.pipeline.choosing import Wish, least_left, policy_of, refuse_unreachable
from onnxprune.pipeline.finishing import figures, finish, publish
from onnxprune.pipeline.journal import (
    Journal,
    forgotten_if_refused,
    kept_until_written,
    open_journal,
    read_journal,
)
from onnxprune.pipeline.judging import CLASS_DROP, check_class_drop
from onnxprune.pipeline.profiling import Device
from onnxprune.pipeline.quantizing import check_quantizing, try_quantizing
from onnxprune.pipeline.result import Extra, Result, Tell, no_extra, unheard
from onnxprune.pipeline.retraining import check_retraining
from onnxprune.pipeline.samples import Samples, open_samples
from onnxprune.pipeline.score_files import ScoreFile, read_score_file, score_bytes
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.stages import (
    Model,
    channel_counts,
    choose,
    class_masks,
    inspect,
    load,
    plan_of_masks,
    recovery_settings,
    versions,
)
from onnxprune.pipeline.steps import Chosen, choose_in_steps, scored
from onnxprune.pipeline.timing import Keep, Timing, hold_latency, latency_notes, settle_timing
from onnxprune.pipeline.trying import Choose, find_plan
from onnxprune.report.curve import curve_files, require_plots
from onnxprune.runtime import open_session
from onnxprune.values.plan import Plan
from onnxprune.values.progress import Track, silent
from onnxprune.values.trials import Search


def run(settings: Settings, track: Track = silent, say: Tell = unheard, extra: Extra = no_extra) -> Result:
    """Prune a model.

    Nothing is written unless every check holds; then the plan, what `extra` makes, and the model are, all in one step.

    Raises:
        InputError: bad input or usage.
        UnreachableError: a budget that cannot be met, nothing to prune, or a poor result nobody asked for.
        VerificationError: the cut model failed a check.
    """
    method = find_method(settings.method)
    options = method.settle(settings.options)
    policy_of(method, options, settings.wish.policy)
    outputs = {
        "the model": settings.written,
        "the plan": settings.plan_written,
        "the labels": settings.labels_written,
        "the quantized model": settings.quantized_written,
        "the saved scores": settings.scores_output,
        **settings.curve_outputs,
        "the journal": settings.journal,
    }
    recovery_settings(settings.recovery)
    if settings.pareto is not None:
        require_plots()
    if settings.trim_head and not settings.classes:
        raise InputError("--trim-head cuts the classifier to the classes of --classes; name them.")
    _check_steps(settings)
    begun = None if settings.journal is None else read_journal(settings.journal, resume=settings.resume)
    model, analysis = _open(settings, outputs, say)
    device = Device(settings.threads)
    analysis, wish, timing = settle_timing(model, analysis, settings.wish, settings.latency_table, device, track, say)
    settings = replace(settings, wish=wish)
    say("least", least_left(analysis, wish))
    if not settings.trim_head:  # then it depends on the data how wide the head is
        refuse_unreachable(analysis, settings.wish, {})
    check_retraining(settings, model)
    check_quantizing(settings, model)
    known = None if settings.scores is None else read_score_file(settings.scores, analysis.prunable, model.digest)
    if known is not None:
        method, options = known.method, dict(known.options)
    if known is not None and known.scores is None:
        return _run_masks(settings, model, analysis, known, track, say, extra)
    needed = _has_data(settings) or (known is None and method.needs_data(options))
    samples = _samples(settings, model, track, say, tries=is_wanted(settings)) if needed else None
    check_class_drop(settings.max_class_drop, samples, measured=settings.check_accuracy)
    data = {} if samples is None else _data_facts(samples)
    guard = open_guard(settings, samples)
    searches = guard is not None and not settings.wish.budget.explicit
    journal: Journal | None = None
    if settings.journal is not None and known is None and not searches:  # a search is no one sequence of steps
        run_facts = _run_facts(settings, model, method, options, samples, data)
        journal = open_journal(settings.journal, begun, run_facts, analysis.free)
    tries = guard is not None or settings.pareto is not None
    limited = tries or wish.budget.latency is not None
    select = _chooser(
        settings, model, analysis, samples, known, (method, options), journal, track, say, limited=limited
    )
    select = _held_to_latency(select, model, analysis, timing, say)
    search = None
    with forgotten_if_refused(journal):
        if not tries:
            found = select(settings.wish)
        elif samples is None:
            raise InputError(
                "--pareto measures every plan on samples; name a folder of images or an .npz file with --data."
            )
        else:
            found, search = find_plan(settings, model, analysis, samples, guard, select, track, say)
    held = {} if guard is None else {name: guard.limits[name] for name in (MAX_DROP, MAX_DRIFT) if name in guard.limits}
    in_steps = {"steps": settings.steps} if settings.steps > 1 else {}
    chosen = plan_of_masks(
        model,
        analysis,
        found.keep,
        method.name,
        options,
        request={**settings.wish.to_json(), **held, **in_steps},
        seed=settings.seed,
        data=data,
    )
    notes = (*found.notes, *latency_notes(analysis, timing, counts(found.keep)))
    if settings.scores_output is not None and found.scores is not None:
        keep = {group.name: found.keep[group.name] for group in analysis.prunable}
        content = score_bytes(found.scores, keep, method.name, options, model.digest)
        extra = _beside(extra, settings.scores_output, content)
    with forgotten_if_refused(journal):
        if chosen.removed == 0:
            raise UnreachableError(_nothing(settings, method.name))
    for path, content in ({} if search is None else curve_files(search, settings.curve_written)).items():
        extra = _beside(extra, path, content)
    notes = (*model.notes, *notes)
    if guard is not None and settings.recipe is not None:
        notes = (*notes, "The limits on the loss chose the plan by its recovered weights, before the training.")
    with kept_until_written(journal):
        return _carry_out(settings, model, analysis, chosen, samples, track, say, extra, notes, search, journal)


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
    if settings.resume and is_wanted(settings) and not settings.wish.budget.explicit and settings.data is not None:
        raise InputError(
            "--resume goes on with the steps of one plan, and without a budget many plans are tried; give the budget, "
            "or the --alpha, that the run was begun with."
        )


def _run_facts(
    settings: Settings,
    model: Model,
    method: Method,
    options: Mapping[str, Any],
    samples: Samples | None,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the masks of a run follow from, by names that people know: its journal is of no other run."""
    return {
        "model": model.digest,
        "data": data.get("digest"),
        "preprocessing": data.get("preprocess"),
        "classes": {} if samples is None else dict(samples.classes),
        "method": method.name,
        "method settings": dict(options),
        **settings.wish.to_json(),
        "steps": settings.steps,
        "recovery": settings.recovery,
        "approximate groups": settings.approximate,
        "trim_head": settings.trim_head,
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "threads": settings.threads,
        "versions": versions(),
    }


def _chooser(
    settings: Settings,
    model: Model,
    analysis: Analysis,
    samples: Samples | None,
    known: ScoreFile | None,
    method: tuple[Method, Mapping[str, Any]],
    journal: Journal | None,
    track: Track,
    say: Tell,
    *,
    limited: bool,
) -> Choose:
    """Return what chooses the channels that stay, for one wish after the other, by scores that are computed once.

    With `limited` the scores serve any budget of multiply-adds as well, whatever the settings ask for.
    """
    if known is not None and known.scores is not None:
        scores = known.scores
        outputs = () if samples is None else tuple(samples.classes.values())
        return lambda wish: Chosen(choose(analysis, scores, wish, *method, outputs), scores, scores.notes)
    first = scored(settings, analysis, samples, *method, track, say, limited=True) if limited else None

    def chosen(wish: Wish) -> Chosen:
        mine, kept = replace(settings, wish=wish), journal if wish == settings.wish else None
        return choose_in_steps(mine, model, analysis, samples, *method, kept, track, say, first)

    return chosen


def _held_to_latency(select: Choose, model: Model, analysis: Analysis, timing: Timing, say: Tell) -> Choose:
    """Return what chooses until a budget of latency holds as timed, where there is one."""

    def chosen(wish: Wish) -> Chosen:
        found = select(wish)

        def again(other: Wish) -> Keep:
            return select(other).keep

        return replace(found, keep=hold_latency(model, analysis, wish, timing, found.keep, again, say))

    return chosen


def _has_data(settings: Settings) -> bool:
    """Whether anything is named that is data, or makes sense with data alone."""
    return settings.data is not None or settings.test is not None or bool(settings.classes)


def _run_masks(
    settings: Settings,
    model: Model,
    analysis: Analysis,
    known: ScoreFile,
    track: Track,
    say: Tell,
    extra: Extra,
) -> Result:
    """Cut as the keep masks of a file say, which is as explicit as a budget."""
    if settings.explicit or settings.pareto is not None:
        given = "budget" if settings.explicit else "curve"
        raise InputError(f"{settings.scores} has keep masks and no scores, so no {given} can be given beside it.")
    if settings.scores_output is not None:
        raise InputError(f"{settings.scores} has keep masks and no scores, so there are none to save.")
    samples = _samples(settings, model, track, say) if _has_data(settings) else None
    check_class_drop(settings.max_class_drop, samples, measured=settings.check_accuracy)
    data = {} if samples is None else _data_facts(samples)
    classes = {} if samples is None else class_masks(analysis, tuple(samples.classes.values()))
    keep = {**known.keep, **classes}
    chosen = plan_of_masks(model, analysis, keep, known.method.name, known.options, seed=settings.seed, data=data)
    if chosen.removed == 0:
        raise UnreachableError(f"Nothing was pruned: {settings.scores} keeps every channel.")
    settings = replace(settings, force=True)
    return _carry_out(settings, model, analysis, chosen, samples, track, say, extra, model.notes)


def _carry_out(
    settings: Settings,
    model: Model,
    analysis: Analysis,
    chosen: Plan,
    samples: Samples | None,
    track: Track,
    say: Tell,
    extra: Extra,
    notes: tuple[str, ...],
    search: Search | None = None,
    journal: Journal | None = None,
) -> Result:
    """Write the plan alone, or finish the job, by the plan and the recovery that is asked for."""
    classes = {} if samples is None else samples.classes
    limit = {} if settings.max_class_drop is None else {CLASS_DROP: settings.max_class_drop}
    request = {**chosen.request, **limit}
    chosen = replace(chosen, request=request, recovery=recovery_settings(settings.recovery), classes=classes)
    if not settings.dry_run:
        return finish(
            settings, model, analysis, chosen, samples, track, say, extra, notes=notes, search=search, journal=journal
        )
    before = figures(model.proto, analysis, model.size, channel_counts(analysis, chosen)[0])
    plan_output = settings.plan_written
    result = Result(
        settings.model,
        analysis,
        chosen,
        samples,
        before,
        notes=notes,
        plan_output=plan_output,
        search=search,
        curve_output=settings.curve_written,
    )
    with Staging() as staging:
        publish(staging, settings, result, extra)
    return result


def _beside(extra: Extra, path: Path, content: bytes) -> Extra:
    """Have one more file written in the same step."""
    return lambda result: {**extra(result), path: content}


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
    outputs = {
        "the model": settings.written,
        "the labels": settings.labels_written,
        "the quantized model": settings.quantized_written,
    }
    model, analysis = _open(settings, outputs, say)
    check_quantizing(settings, model)
    tried = bool({MAX_DROP, MAX_DRIFT} & set(chosen.request))  # on a part of the data that no score saw, as here
    samples = None if settings.data is None else _samples(settings, model, track, say, tries=tried)
    if samples is not None and samples.classes != chosen.classes:
        raise InputError(
            f"The plan's classes are the outputs {_outputs(chosen.classes)} of the model, in this data "
            f"{_outputs(samples.classes)}; give the --labels that the plan was made with."
        )
    return finish(settings, model, analysis, chosen, samples, track, say, extra, notes=model.notes, write_plan=False)


def _outputs(classes: Mapping[str, int]) -> str:
    return ", ".join(f"{output} ({name})" for name, output in classes.items())


def _open(settings: Settings, outputs: Mapping[str, Path | None], say: Tell) -> tuple[Model, Analysis]:
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
    return model, analysis


def _samples(settings: Settings, model: Model, track: Track, say: Tell, *, tries: bool = False) -> Samples:
    """Open the data; the session that this takes does not outlive it, as no two large ones should live at once."""
    say("working", "Opening the data")
    session = open_session(model.proto, model.weights, name=str(settings.model), threads=settings.threads)
    samples = open_samples(settings, model, session, track, tries=tries)
    say("samples", samples)
    if settings.quantize is not None:
        say("working", "Trying to quantize the original")
        try_quantizing(settings, model, samples)
    return samples


def _data_facts(samples: Samples) -> Mapping[str, Any]:
    """What the plan says of the data: enough to judge the scores by, no path of this machine."""
    return {
        "images": len(samples.calibration),
        "classes": 0 if samples.calibration.labels is None else len(samples.calibration.class_names),
        "digest": samples.calibration.digest(),
        "preprocess": None if samples.calibration.preprocessed else samples.calibration.preprocess.to_json(),
    }


def _nothing(settings: Settings, method: str) -> str:
    if settings.wish.explicit:
        return "Nothing was pruned: the budget already holds; ask for more (a larger --ratio, a smaller --macs)."
    return f"Nothing was pruned: no channel is below the threshold of {method}; ask for a --ratio or --macs."
