"""The main job: from a model and a folder of samples to a smaller model that is checked, measured and then written."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from onnxprune import __version__
from onnxprune.analysis.analyse import Analysis
from onnxprune.errors import InputError, UnreachableError
from onnxprune.graph.measures import count_params, file_size
from onnxprune.graph.outputs import check_input, check_outputs, data_files
from onnxprune.graph.writing import Staging, with_metadata
from onnxprune.importance.method import Method, find_method
from onnxprune.pipeline.quality import Gauge
from onnxprune.pipeline.recovering import Restored, restore, why_not
from onnxprune.pipeline.samples import Samples, open_samples
from onnxprune.pipeline.score_files import ScoreFile, read_score_file, score_bytes
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.stages import (
    Model,
    apply,
    channel_counts,
    collect,
    inspect,
    load,
    plan,
    plan_of_masks,
    recovery_settings,
    score,
    stage,
    verify,
)
from onnxprune.runtime import Session, measure, open_session
from onnxprune.surgery.cut import Cut
from onnxprune.values.outcome import Figures, Quality
from onnxprune.values.plan import Plan
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import Scores
from onnxprune.verification.equality import Equality

COLLAPSE = 0.05
"""Loss of top-1 beyond which a run that was asked for no budget refuses its result."""

SLOWER = 1.05
"""Latency ratio beyond which a result counts as slower."""


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of a run; what was not reached (a dry run stops at the plan) is None."""

    model: Path
    analysis: Analysis
    plan: Plan
    samples: Samples | None
    before: Figures
    after: Figures | None = None
    quality: Quality | None = None
    equality: Equality | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    output: Path | None = None
    plan_output: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON types."""
        return {
            "version": __version__,
            "model": str(self.model),
            "output": None if self.output is None else str(self.output),
            "plan": None if self.plan_output is None else str(self.plan_output),
            "method": self.plan.method,
            "options": dict(self.plan.options),
            "requested": dict(self.plan.request),
            "reached": dict(self.plan.reached),
            "before": self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
            "quality": None if self.quality is None else self.quality.to_json(),
            "verification": None if self.equality is None else self.equality.to_json(),
            "groups": {name: {"size": g.size, "kept": g.kept} for name, g in self.plan.groups.items()},
            "frozen": dict(self.plan.frozen),
            "recovery": dict(self.plan.recovery),
            "skipped": [] if self.samples is None else list(self.samples.skipped),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


Tell = Callable[[str, Any], None]
"""Receives the value of a finished stage by name, for those who want to show it at once.

`analysis` and `samples` bring their value; `working` brings in words what is begun and may take a while.
"""


Extra = Callable[["Result"], Mapping[Path, bytes]]
"""Makes of the result what is to be written in the same step as the model, by path: a report."""


def _no_extra(result: Result) -> Mapping[Path, bytes]:
    """Write nothing more."""
    return {}


def _unheard(stage: str, value: Any) -> None:
    """Tell nobody."""


def run(settings: Settings, track: Track = silent, say: Tell = _unheard, extra: Extra = _no_extra) -> Result:
    """Prune a model.

    Nothing is written unless every check holds; then the plan, what `extra` makes, and the model are, all in one step.

    Raises:
        InputError: bad input or usage.
        UnreachableError: a budget that cannot be met, nothing to prune, or a poor result nobody asked for.
        VerificationError: the cut model failed a check.
    """
    method = find_method(settings.method)
    options = method.settle(settings.options)
    outputs = {
        "the model": settings.written,
        "the plan": settings.plan_written,
        "the saved scores": settings.scores_output,
    }
    model, analysis = _open(settings, outputs, settings.approximate, say)
    known = None if settings.scores is None else read_score_file(settings.scores, analysis.prunable, model.digest)
    if known is not None:
        method, options = known.method, dict(known.options)
    if known is not None and known.scores is None:
        return _run_masks(settings, model, analysis, known, track, say, extra)
    blind = settings.data is None and settings.test is None and not (known is None and method.needs_data(options))
    samples = None if blind else _samples(settings, model, track, say)
    given = None if known is None else known.scores
    scores = given or _scores(settings, analysis, samples, method, options, track, say)
    chosen = plan(
        model,
        analysis,
        scores,
        settings.budget,
        method,
        options,
        round_to=settings.round_to,
        seed=settings.seed,
        data={} if samples is None else _data_facts(samples),
    )
    if settings.scores_output is not None:
        content = score_bytes(scores, chosen.keep(), method.name, options, model.digest)
        extra = _beside(extra, settings.scores_output, content)
    if chosen.removed == 0:
        raise UnreachableError(_nothing(settings, method.name))
    notes = (*model.notes, *scores.notes)
    return _carry_out(settings, model, analysis, chosen, samples, track, say, extra, notes)


def _scores(
    settings: Settings,
    analysis: Analysis,
    samples: Samples | None,
    method: Method,
    options: Mapping[str, Any],
    track: Track,
    say: Tell,
) -> Scores:
    """Gather what the method needs, and score."""
    statistics = collect(
        analysis,
        None if samples is None else samples.calibration,
        method.name,
        options,
        batch_size=settings.batch_size,
        seed=settings.seed,
        track=track,
    )
    say("working", "Choosing what goes")
    return score(analysis, statistics, method.name, options, seed=settings.seed)


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
    if settings.budget.explicit:
        raise InputError(f"{settings.scores} has keep masks and no scores, so no budget can be given beside it.")
    if settings.scores_output is not None:
        raise InputError(f"{settings.scores} has keep masks and no scores, so there are none to save.")
    samples = None if settings.data is None and settings.test is None else _samples(settings, model, track, say)
    data = {} if samples is None else _data_facts(samples)
    chosen = plan_of_masks(model, analysis, known.keep, known.method.name, known.options, seed=settings.seed, data=data)
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
) -> Result:
    """Write the plan alone, or finish the job, by the plan and the recovery that is asked for."""
    chosen = replace(chosen, recovery=recovery_settings(settings.recovery))
    if not settings.dry_run:
        return finish(settings, model, analysis, chosen, samples, track, say, extra, notes=notes)
    before = _figures(model.proto, analysis, model.size, channel_counts(analysis, chosen)[0])
    plan_output = settings.plan_written
    result = Result(settings.model, analysis, chosen, samples, before, notes=notes, plan_output=plan_output)
    with Staging() as staging:
        _publish(staging, settings, result, extra)
    return result


def _beside(extra: Extra, path: Path, content: bytes) -> Extra:
    """Have one more file written in the same step."""
    return lambda result: {**extra(result), path: content}


def replay(
    settings: Settings, chosen: Plan, track: Track = silent, say: Tell = _unheard, extra: Extra = _no_extra
) -> Result:
    """Apply a plan to its model: cut, verify, measure where there is data, write.

    Raises:
        InputError: the plan is for another model; else as `run`.
    """
    approximate = chosen.request.get("allow") == "approximate"
    model, analysis = _open(settings, {"the model": settings.written}, approximate, say)
    samples = None if settings.data is None else _samples(settings, model, track, say)
    return finish(settings, model, analysis, chosen, samples, track, say, extra, notes=model.notes, write_plan=False)


def _open(
    settings: Settings, outputs: Mapping[str, Path | None], approximate: bool, say: Tell
) -> tuple[Model, Analysis]:
    """Read and analyse the model, after making sure that nothing that is read would be overwritten."""
    inputs = {
        "the input model": settings.model,
        "the sample data": settings.data,
        "the test data": settings.test,
        "the scores": settings.scores,
    }
    check_input(settings.model)
    check_outputs(outputs, inputs)
    say("working", "Reading the model")
    model = load(settings.model)
    check_outputs(outputs, data_files(model.weights))
    analysis = inspect(model, approximate=approximate)
    say("analysis", analysis)
    return model, analysis


def _samples(settings: Settings, model: Model, track: Track, say: Tell) -> Samples:
    """Open the data; the session that this takes does not outlive it, as no two large ones should live at once."""
    say("working", "Opening the data")
    session = open_session(model.proto, model.weights, name=str(settings.model), threads=settings.threads)
    samples = open_samples(settings, model, session, track)
    say("samples", samples)
    return samples


def finish(
    settings: Settings,
    model: Model,
    analysis: Analysis,
    chosen: Plan,
    samples: Samples | None,
    track: Track,
    say: Tell = _unheard,
    extra: Extra = _no_extra,
    *,
    notes: tuple[str, ...] = (),
    write_plan: bool = True,
) -> Result:
    """Cut, verify, recover, measure and write."""
    say("working", "Checking that cut equals mask")
    reason = why_not(model, chosen, samples) if chosen.recovery else None
    recovers = bool(chosen.recovery) and reason is None
    notes = notes if reason is None else (*notes, reason)
    cut, chosen = apply(model, analysis, chosen)
    with_metadata(cut.model, _metadata(chosen, recovers=recovers))
    written = settings.written
    plan_written = settings.plan_written if write_plan else None
    with Staging() as staging:
        # From here on the values that the cut made are in the files that will be the result, and no more in memory.
        cut = stage(cut, written, staging, [] if plan_written is None else [plan_written])
        folder = staging.folder(written)
        equality = verify(
            model, analysis, cut, None if samples is None else samples.calibration, seed=settings.seed, scratch=folder
        )
        gauge = None if samples is None else Gauge(settings, model, samples, track)
        restored = Restored(cut)
        if recovers and samples is not None and gauge is not None:
            say("working", "Recovering the weights")
            restored = restore(model, cut, chosen, samples, gauge, written, staging)
        cut, notes = restored.cut, (*notes, *restored.notes)
        pruned = open_session(cut.model, cut.weights, name="the pruned model", threads=settings.threads)
        quality = None if gauge is None else gauge.quality(pruned)
        if quality is not None and restored.steps:
            quality = replace(quality, steps=(*restored.steps, quality.as_step(restored.last)))
        session = open_session(model.proto, model.weights, name=str(settings.model), threads=settings.threads)
        say("working", "Measuring latency")
        size = file_size(folder / written.name, cut.weights)
        before, after = _both_figures(model, analysis, chosen, cut, size, samples, (session, pruned))
        collapsed = _collapsed(quality)
        warnings = (*collapsed, *_warnings(before, after, equality))
        if collapsed and not settings.budget.explicit and not settings.force and write_plan:
            raise UnreachableError(
                f"{collapsed[0]} No budget asked for that, so nothing was written; "
                "give one (--macs, --ratio, --alpha), or --force to take the result as it is."
            )
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
        )
        _publish(staging, settings, result, extra)
    return result


def _publish(staging: Staging, settings: Settings, result: Result, extra: Extra) -> None:
    """Add the plan and whatever else is to be written, and put everything in its place."""
    if result.plan_output is not None:
        staging.write(result.plan_output, result.plan.to_text().encode())
    for path, content in extra(result).items():
        staging.write(path, content)
    staging.commit(last=settings.written)


def _collapsed(quality: Quality | None) -> tuple[str, ...]:
    """Say what of the accuracy was lost that nobody gives away unasked."""
    found = []
    if quality is not None and quality.change is not None:
        if quality.change < -COLLAPSE:
            found.append(f"Top-1 fell by {-100 * quality.change:.1f} points.")
        dead = [row.name for row in quality.classes if row.after == 0 and row.before > 0]
        if dead:
            found.append(f"No image of {', '.join(dead)} is classified right any more.")
    return tuple(found)


def _warnings(before: Figures, after: Figures, equality: Equality) -> Iterator[str]:
    """Say what else is poor about the result. Latency is a measurement, too noisy here and now to refuse by."""
    if before.latency_ms and after.latency_ms and after.latency_ms > SLOWER * before.latency_ms:
        yield f"The pruned model is slower here: {after.latency_ms / before.latency_ms:.2f} times the latency."
    if after.size >= before.size:
        yield f"The pruned file is not smaller: {after.size} bytes instead of {before.size}."
    if equality.status == "unproven":
        yield "Cut equals mask is unproven: on these inputs no tensor tells a cut model from an uncut one."


def _both_figures(
    model: Model,
    analysis: Analysis,
    chosen: Plan,
    cut: Cut,
    size: int,
    samples: Samples | None,
    sessions: tuple[Session, Session],
) -> tuple[Figures, Figures]:
    channels = channel_counts(analysis, chosen)
    before = _figures(model.proto, analysis, model.size, channels[0])
    after = _figures(cut.model, analysis, size, channels[1], chosen)
    if samples is None:
        return before, after
    feeds = next(samples.calibration.batches(1)).feeds
    calls = [chunk.feeds for chunk in sessions[0].chunks(feeds)]
    found = measure({"before": sessions[0], "after": sessions[1]}, calls[0])
    return (
        replace(before, latency_ms=found["before"].median_ms),
        replace(after, latency_ms=found["after"].median_ms),
    )


def _figures(
    proto: onnx.ModelProto, analysis: Analysis, size: int, channels: int, chosen: Plan | None = None
) -> Figures:
    macs = analysis.macs(None if chosen is None else chosen.keep())
    return Figures(params=count_params(proto), macs=macs, size=size, channels=channels)


def _data_facts(samples: Samples) -> Mapping[str, Any]:
    """What the plan says of the data: enough to judge the scores by, no path of this machine."""
    return {
        "images": len(samples.calibration),
        "classes": 0 if samples.calibration.labels is None else len(samples.calibration.class_names),
        "digest": samples.calibration.digest(),
        "preprocess": None if samples.calibration.preprocessed else samples.calibration.preprocess.to_json(),
    }


def _metadata(chosen: Plan, *, recovers: bool) -> dict[str, str]:
    cut = sum(1 for group in chosen.groups.values() if group.removed)
    channels = sum(group.size for group in chosen.groups.values())
    return {
        "onnxprune.version": __version__,
        "onnxprune.method": chosen.method,
        "onnxprune.cut": f"{chosen.removed} of {channels} channels in {cut} of {len(chosen.groups)} groups",
        "onnxprune.original": chosen.digest,
        **({"onnxprune.recovery": str(chosen.recovery["name"])} if recovers else {}),
    }


def _nothing(settings: Settings, method: str) -> str:
    if settings.budget.explicit:
        return "Nothing was pruned: the budget already holds; ask for more (a larger --ratio, a smaller --macs)."
    return f"Nothing was pruned: no channel is below the threshold of {method}; ask for a --ratio or --macs."
