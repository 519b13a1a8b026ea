"""From a plan to what is written: cut, verify, recover, measure, judge, and put everything in its place."""

import json
from collections.abc import Iterator
from dataclasses import replace

import onnx

from onnxprune._version import __version__
from onnxprune.analysis.analyse import Analysis
from onnxprune.errors import UnreachableError
from onnxprune.graph.storage.measures import count_params, file_size
from onnxprune.graph.storage.metadata import CLASSES
from onnxprune.graph.storage.paths import data_names
from onnxprune.graph.storage.save import locations
from onnxprune.graph.storage.staging import Staging, with_metadata
from onnxprune.latency.measure import measure
from onnxprune.pipeline.config import Settings
from onnxprune.pipeline.context import Job
from onnxprune.pipeline.execution.accept import (
    CLASS_DROP,
    collapses,
    int8_shortcomings,
    refuse_class_drop,
    refuse_collapse,
    refuse_size,
    shortcomings,
)
from onnxprune.pipeline.execution.cut import apply, channel_counts, verify
from onnxprune.pipeline.execution.evaluate import Gauge
from onnxprune.pipeline.execution.quantize import Int8, measured_int8, quantize
from onnxprune.pipeline.execution.recover import Restored, restore, why_not
from onnxprune.pipeline.execution.retrain import retrain
from onnxprune.pipeline.execution.store import stage
from onnxprune.pipeline.planning.limits import MAX_DRIFT, MAX_DROP, Guard, judge_final
from onnxprune.pipeline.result import Result
from onnxprune.pipeline.state import Journal
from onnxprune.runtime import Session, open_session
from onnxprune.surgery.cut import Cut
from onnxprune.values.outcome import Figures, Quality
from onnxprune.values.plan import Plan
from onnxprune.values.trials import Search


def finish(
    job: Job,
    chosen: Plan,
    *,
    notes: tuple[str, ...] = (),
    write_plan: bool = True,
    search: Search | None = None,
    journal: Journal | None = None,
) -> Result:
    """Cut, verify, recover, train, quantize, measure, judge and write.

    Raises:
        InputError: a file cannot be written, or the data cannot be used.
        UnreachableError: the result is not what was asked for.
        VerificationError: a model failed a check.
    """
    settings, model = job.settings, job.model
    job.say("working", "Checking that cut equals mask")
    reason = why_not(job, chosen) if chosen.recovery else None
    recovers = bool(chosen.recovery) and reason is None
    notes = (*notes, *_head_notes(job.analysis, chosen), *([] if reason is None else [reason]))
    cut, chosen = apply(model, job.analysis, chosen)
    with_metadata(cut.model, _metadata(chosen, recovers=recovers))
    outputs = [settings.plan_written if write_plan else None, settings.labels_written]
    with Staging() as staging:
        # From here on the values that the cut made are in the files that will be the result, and no more in memory.
        beside = [path for path in outputs if path is not None]
        names = data_names(cut.model, cut.weights, settings.written, beside)
        cut = stage(cut, settings.written, staging, beside, names if journal is None else journal.data_files(names))
        folder = staging.folder(settings.written)
        data = None if job.samples is None else job.samples.calibration
        equality = verify(model, job.analysis, cut, data, seed=settings.seed, scratch=folder)
        gauge = None if job.samples is None else Gauge(settings, model, job.samples, job.track)
        restored = Restored(cut) if gauge is None else _restored(job, cut, chosen, gauge, staging, recovers=recovers)
        cut, notes = restored.cut, (*notes, *restored.notes)
        pruned = open_session(cut.model, cut.weights, name="the pruned model", threads=settings.threads)
        quality = None if gauge is None else _quality(chosen, restored, pruned, gauge)
        small, failure = _quantized(job, cut, pruned, staging)
        job.say("working", "Measuring latency")
        size = file_size(folder / settings.written.name, cut.weights)
        latency = _latencies(job, pruned, small)
        after = figures(cut.model, job.analysis, size, channel_counts(job.analysis, chosen)[1], chosen)
        quantized = None if small is None or gauge is None else measured_int8(small, gauge, pruned, latency)
        result = outlined(job, chosen, notes, search)
        result = replace(
            result,
            before=replace(result.before, latency_ms=latency.get("before")),
            after=replace(after, latency_ms=latency.get("after")),
            quality=quality,
            equality=equality,
            output=settings.written,
            plan_output=settings.plan_written if write_plan else None,
            labels_output=settings.labels_written,
            quantized=quantized,
            quantized_output=None if quantized is None else settings.quantized_written,
            failure=failure,
        )
        result = _judged(settings, result, plan_is_new=write_plan)
        publish(staging, job, result, withdrawn=bool(locations(cut.model, cut.weights)))
    return result


def outlined(job: Job, chosen: Plan, notes: tuple[str, ...], search: Search | None = None) -> Result:
    """Return the outcome of a run as far as its plan."""
    settings, model = job.settings, job.model
    return Result(
        settings.model,
        job.analysis,
        chosen,
        job.samples,
        figures(model.proto, job.analysis, model.size, channel_counts(job.analysis, chosen)[0]),
        notes=notes,
        plan_output=settings.plan_written,
        search=search,
        curve_output=settings.curve_written,
    )


def _restored(job: Job, cut: Cut, chosen: Plan, gauge: Gauge, staging: Staging, *, recovers: bool) -> Restored:
    """Recover and train a staged cut, as far as either is asked for."""
    restored = Restored(cut)
    if recovers:
        job.say("working", "Recovering the weights")
        restored = restore(job, cut, chosen, gauge, staging)
    if job.settings.recipe is not None:
        job.say("working", "Training")
        restored = retrain(job, restored, gauge, staging)
    return restored


def _quality(chosen: Plan, restored: Restored, pruned: Session, gauge: Gauge) -> Quality:
    """Measure the pruned model, beside what it was after every step before the last."""
    quality = gauge.quality(pruned, moved=MAX_DRIFT in chosen.request)
    if not restored.steps:
        return quality
    return replace(quality, steps=(*restored.steps, quality.as_step(restored.last)))


def _quantized(job: Job, cut: Cut, pruned: Session, staging: Staging) -> tuple[Int8 | None, str]:
    """Quantize where that is asked for, or say why it failed: the pruned model is none the worse for it."""
    if job.settings.quantize is None or job.samples is None:
        return None, ""
    job.say("working", "Quantizing")
    try:
        return quantize(job, cut, pruned, staging), ""
    except UnreachableError as error:
        return None, str(error)


def _judged(settings: Settings, result: Result, *, plan_is_new: bool) -> Result:
    """Return the result with its warnings and what could not be checked.

    Raises:
        UnreachableError: it is not what was asked for; a plan that is given is applied whatever comes of it, but for
            what a class may lose.
    """
    chosen, before, after, quality = result.plan, result.before, result.after, result.quality
    assert after is not None
    assert result.equality is not None
    if plan_is_new:
        refuse_size(settings.goal.budget.size, before, after)
    limit = chosen.request.get(CLASS_DROP)
    refuse_class_drop(quality, limit)
    notes = result.notes
    if limit is not None and (quality is None or not quality.classes):
        notes = (*notes, f"No accuracy by class was measured, so the limit of {100 * limit:g} points is unchecked.")
    guard = Guard({name: chosen.request[name] for name in (MAX_DROP, MAX_DRIFT) if name in chosen.request})
    own = result.samples is not None and result.samples.held is not None  # test data, which nothing was chosen by
    lost = judge_final(guard, quality, chosen_on_it=plan_is_new and not own)
    collapsed = collapses(quality)
    if plan_is_new and not settings.explicit and not settings.force:
        refuse_collapse(collapsed)
    tried = None if result.search is None else result.search.chosen
    few = None if tried is None else guard.too_few(tried.quality)
    warnings = (
        *lost,
        *collapsed,
        *shortcomings(before, after, result.equality),
        *([] if few is None else [few]),
        *([result.failure] if result.failure else []),
        *([] if result.quantized is None else int8_shortcomings(after, result.quantized)),
    )
    return replace(result, warnings=warnings, notes=notes)


def _head_notes(analysis: Analysis, chosen: Plan) -> Iterator[str]:
    """Say what a trimmed classifier was checked against."""
    if analysis.classes is not None and analysis.head is not None:
        alone = ", given to the softmax alone" if analysis.renormalised else ""
        yield (
            f"Output {analysis.head.ref.name!r} has {len(chosen.classes)} of its {analysis.classes.size} classes left, "
            f"in their order: {', '.join(chosen.classes)}; the mask is the original's scores of these classes{alone}."
        )


def publish(staging: Staging, job: Job, result: Result, *, withdrawn: bool = False) -> None:
    """Add the plan and whatever else is to be written, and put everything in its place."""
    if result.plan_output is not None:
        staging.write(result.plan_output, result.plan.to_text().encode())
    if result.labels_output is not None:
        staging.write(result.labels_output, "".join(f"{name}\n" for name in result.plan.classes).encode())
    for path, content in job.extra(result).items():
        staging.write(path, content)
    staging.commit(last=job.settings.written, withdrawn=withdrawn)


def _latencies(job: Job, pruned: Session, small: Int8 | None) -> dict[str, float]:
    """Return the latency of one sample by model, in milliseconds, measured in turns; nothing without samples."""
    if job.samples is None:
        return {}
    model, settings = job.model, job.settings
    whole = open_session(model.proto, model.weights, name=str(settings.model), threads=settings.threads)
    sessions = {"before": whole, "after": pruned, **({} if small is None else {"quantized": small.session})}
    feeds = next(job.samples.calibration.batches(1)).feeds
    calls = [chunk.feeds for chunk in whole.chunks(feeds)]
    return {name: found.median_ms for name, found in measure(sessions, calls[0]).items()}


def figures(
    proto: onnx.ModelProto, analysis: Analysis, size: int, channels: int, chosen: Plan | None = None
) -> Figures:
    """Return the figures of a model of which `chosen` was cut (None: nothing), but for the latency."""
    macs = analysis.macs(None if chosen is None else chosen.keep())
    return Figures(params=count_params(proto), macs=macs, size=size, channels=channels)


def _metadata(chosen: Plan, *, recovers: bool) -> dict[str, str]:
    cut = sum(1 for group in chosen.groups.values() if group.removed)
    channels = sum(group.size for group in chosen.groups.values())
    return {
        "onnxprune.version": __version__,
        "onnxprune.method": chosen.method,
        "onnxprune.cut": f"{chosen.removed} of {channels} channels in {cut} of {len(chosen.groups)} groups",
        "onnxprune.original": chosen.digest,
        **({CLASSES: json.dumps(list(chosen.classes))} if "trim_head" in chosen.request else {}),
        **({"onnxprune.recovery": str(chosen.recovery["name"])} if recovers else {}),
    }
