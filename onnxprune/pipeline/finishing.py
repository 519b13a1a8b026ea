"""From a plan to what is written: cut, verify, recover, measure, judge, and put everything in its place."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

import onnx

from onnxprune import __version__
from onnxprune.analysis.analyse import Analysis
from onnxprune.errors import UnreachableError
from onnxprune.graph.measures import count_params, file_size
from onnxprune.graph.metadata import CLASSES
from onnxprune.graph.outputs import data_names
from onnxprune.graph.saving import locations
from onnxprune.graph.writing import Staging, with_metadata
from onnxprune.pipeline.accuracy_guard import MAX_DRIFT, MAX_DROP, Guard, judge_final
from onnxprune.pipeline.journal import Journal
from onnxprune.pipeline.judging import (
    CLASS_DROP,
    collapses,
    int8_shortcomings,
    refuse_class_drop,
    refuse_collapse,
    refuse_size,
    shortcomings,
)
from onnxprune.pipeline.quality import Gauge
from onnxprune.pipeline.quantizing import measured_int8, quantize
from onnxprune.pipeline.recovering import Restored, restore, why_not
from onnxprune.pipeline.result import Extra, Result, Tell, no_extra, unheard
from onnxprune.pipeline.retraining import retrain
from onnxprune.pipeline.samples import Samples
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.stages import Model, apply, channel_counts, stage, verify
from onnxprune.runtime import Session, measure, open_session
from onnxprune.surgery.cut import Cut
from onnxprune.values.outcome import Figures
from onnxprune.values.plan import Plan
from onnxprune.values.progress import Track
from onnxprune.values.trials import Search


def finish(
    settings: Settings,
    model: Model,
    analysis: Analysis,
    chosen: Plan,
    samples: Samples | None,
    track: Track,
    say: Tell = unheard,
    extra: Extra = no_extra,
    *,
    notes: tuple[str, ...] = (),
    write_plan: bool = True,
    search: Search | None = None,
    journal: Journal | None = None,
) -> Result:
    """Cut, verify, recover, measure and write."""
    guard = Guard({name: chosen.request[name] for name in (MAX_DROP, MAX_DRIFT) if name in chosen.request})
    say("working", "Checking that cut equals mask")
    reason = why_not(model, chosen, samples) if chosen.recovery else None
    recovers = bool(chosen.recovery) and reason is None
    notes = (*notes, *_head_notes(analysis, chosen), *([] if reason is None else [reason]))
    cut, chosen = apply(model, analysis, chosen)
    with_metadata(cut.model, _metadata(chosen, recovers=recovers))
    written = settings.written
    plan_written = settings.plan_written if write_plan else None
    with Staging() as staging:
        # From here on the values that the cut made are in the files that will be the result, and no more in memory.
        beside = [path for path in (plan_written, settings.labels_written) if path is not None]
        names = data_names(cut.model, cut.weights, written, beside)
        cut = stage(cut, written, staging, beside, names if journal is None else journal.data_files(names))
        folder = staging.folder(written)
        equality = verify(
            model, analysis, cut, None if samples is None else samples.calibration, seed=settings.seed, scratch=folder
        )
        gauge = None if samples is None else Gauge(settings, model, samples, track)
        restored = Restored(cut)
        if recovers and samples is not None and gauge is not None:
            say("working", "Recovering the weights")
            restored = restore(model, cut, chosen, samples, gauge, written, staging)
        if settings.recipe is not None and samples is not None and gauge is not None:
            say("working", "Training")
            restored = retrain(settings, model, restored, samples, gauge, staging, track)
        cut, notes = restored.cut, (*notes, *restored.notes)
        pruned = open_session(cut.model, cut.weights, name="the pruned model", threads=settings.threads)
        quality = None if gauge is None else gauge.quality(pruned, moved=MAX_DRIFT in guard.limits)
        if quality is not None and restored.steps:
            quality = replace(quality, steps=(*restored.steps, quality.as_step(restored.last)))
        small, failure = None, ""
        if settings.quantize is not None and samples is not None:
            say("working", "Quantizing")
            try:
                small = quantize(settings, cut, pruned, samples, staging)
            except UnreachableError as error:  # the pruned model is none the worse for it
                failure = str(error)
        session = open_session(model.proto, model.weights, name=str(settings.model), threads=settings.threads)
        say("working", "Measuring latency")
        size = file_size(folder / written.name, cut.weights)
        sessions = {"before": session, "after": pruned, **({} if small is None else {"quantized": small.session})}
        latency = _latencies(samples, sessions)
        before, after = _both_figures(model, analysis, chosen, cut, size, latency)
        quantized = None if small is None or gauge is None else measured_int8(small, gauge, pruned, latency)
        if write_plan:
            refuse_size(settings.wish.budget.size, before, after)
        limit = chosen.request.get(CLASS_DROP)
        refuse_class_drop(quality, limit)
        if limit is not None and (quality is None or not quality.classes):
            notes = (*notes, f"No accuracy by class was measured, so the limit of {100 * limit:g} points is unchecked.")
        collapsed = collapses(quality)
        own = samples is not None and samples.held is not None  # test data, which nothing was chosen by
        lost = judge_final(guard, quality, chosen_on_it=write_plan and not own)
        tried = None if search is None or search.chosen is None else guard.too_few(search.chosen.quality)
        few = () if tried is None else (tried,)
        warnings = (*lost, *collapsed, *shortcomings(before, after, equality), *few, *([failure] if failure else []))
        warnings = (*warnings, *(() if quantized is None else int8_shortcomings(after, quantized)))
        if write_plan and not settings.explicit and not settings.force:
            refuse_collapse(collapsed)
        result = Result(
            settings.model,
            analysis,
            chosen,
            samples,
            before,
            after,
            quality,
            equality,
            warnings,
            notes,
            written,
            plan_written,
            settings.labels_written,
            search,
            settings.curve_written,
            quantized,
            None if quantized is None else settings.quantized_written,
            failure,
        )
        publish(staging, settings, result, extra, withdrawn=bool(locations(cut.model, cut.weights)))
    return result


def _head_notes(analysis: Analysis, chosen: Plan) -> Iterator[str]:
    """Say what a trimmed classifier was checked against."""
    if analysis.classes is not None and analysis.head is not None:
        alone = ", given to the softmax alone" if analysis.renormalised else ""
        yield (
            f"Output {analysis.head.ref.name!r} has {len(chosen.classes)} of its {analysis.classes.size} classes left, "
            f"in their order: {', '.join(chosen.classes)}; the mask is the original's scores of these classes{alone}."
        )


def publish(staging: Staging, settings: Settings, result: Result, extra: Extra, *, withdrawn: bool = False) -> None:
    """Add the plan and whatever else is to be written, and put everything in its place."""
    if result.plan_output is not None:
        staging.write(result.plan_output, result.plan.to_text().encode())
    if result.labels_output is not None:
        staging.write(result.labels_output, "".join(f"{name}\n" for name in result.plan.classes).encode())
    for path, content in extra(result).items():
        staging.write(path, content)
    staging.commit(last=settings.written, withdrawn=withdrawn)


def _latencies(samples: Samples | None, sessions: Mapping[str, Session]) -> dict[str, float]:
    """Return the latency of one sample by model, in milliseconds, measured in turns; nothing without samples."""
    if samples is None:
        return {}
    feeds = next(samples.calibration.batches(1)).feeds
    calls = [chunk.feeds for chunk in sessions["before"].chunks(feeds)]
    return {name: found.median_ms for name, found in measure(sessions, calls[0]).items()}


def _both_figures(
    model: Model, analysis: Analysis, chosen: Plan, cut: Cut, size: int, latency: Mapping[str, float]
) -> tuple[Figures, Figures]:
    channels = channel_counts(analysis, chosen)
    before = figures(model.proto, analysis, model.size, channels[0])
    after = figures(cut.model, analysis, size, channels[1], chosen)
    return replace(before, latency_ms=latency.get("before")), replace(after, latency_ms=latency.get("after"))


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
