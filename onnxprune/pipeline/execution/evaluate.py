"""Measuring a pruned model: accuracy, size, latency, and the same of its quantized copy."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import onnx

from onnxprune.analysis.analysis import Analysis, counts
from onnxprune.graph.storage.measures import count_params, file_size
from onnxprune.latency.measure import Latency, measure
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.execution.cut import PrunedModel, channel_counts
from onnxprune.pipeline.execution.quantize import Int8, measured_int8, quantize
from onnxprune.pipeline.planned import Planned
from onnxprune.runtime import Session, open_session
from onnxprune.selection.loss_limits import MAX_DRIFT
from onnxprune.surgery.cut import Cut
from onnxprune.values.outcome import Figures, LayerCost, Quality
from onnxprune.values.plan import Plan
from onnxprune.values.results import Result

SECONDS = 1.5
"""For the timing of one model."""


def evaluate(run: Run, pruned: PrunedModel) -> Result:
    """Measure a staged model, and quantize it where that is asked for.

    Raises:
        InputError: a model cannot run on the data, or a file cannot be written.
    """
    run.begin("measuring")
    config, cut, plan = run.config, pruned.cut, pruned.plan
    session = open_session(cut.model, cut.weights, name="the pruned model", threads=config.threads)
    quality = _quality(run, pruned, session)
    int8, failure = quantize(run, cut, session)
    run.working("Measuring latency")
    size = file_size(run.staging.folder(config.written) / config.written.name, cut.weights)
    timed, single = _latencies(run, session, int8, config.threads), _on_one_thread(run, cut)
    latency = {name: found.median_ms for name, found in timed.items()}
    after = figures(cut.model, run.analysis, size, channel_counts(run.analysis, plan)[1], plan)
    known = run.evaluator
    confidence = _confidence(run, pruned.planned)
    quantized = None if int8 is None or known is None else measured_int8(int8, known, session, latency, confidence)
    result = outlined(run, replace(pruned.planned, notes=pruned.notes))
    return replace(
        result,
        before=replace(result.before, latency_ms=latency.get("before"), single_ms=_median(single, "before")),
        after=replace(after, latency_ms=latency.get("after"), single_ms=_median(single, "after")),
        speedup=timed["before"].faster(timed["after"]) if timed else None,
        single_speedup=single["before"].faster(single["after"]) if single else None,
        quality=quality,
        equality=pruned.equality,
        opinion=pruned.opinion,
        output=config.written,
        plan_output=None if pruned.planned.replayed else config.plan_written,
        labels_output=config.labels_written,
        quantized=quantized,
        quantized_output=None if quantized is None else config.quantized_written,
        failure=failure,
    )


def _median(timed: Mapping[str, Latency], name: str) -> float | None:
    return timed[name].median_ms if name in timed else None


def outlined(run: Run, planned: Planned) -> Result:
    """Return the outcome of a run as far as its plan."""
    config, model = run.config, run.model
    return Result(
        config.model,
        run.analysis.groups,
        planned.plan,
        None if run.samples is None else run.samples.summary,
        figures(model.proto, run.analysis, model.size, channel_counts(run.analysis, planned.plan)[0]),
        notes=planned.notes,
        plan_output=config.plan_written,
        search=planned.search,
        curve_output=config.curve_written,
        threads=config.threads,
        foreseen=_foreseen(run.analysis, planned.plan),
        layers=tuple(_layer_costs(run.analysis, planned.plan)),
    )


def _foreseen(analysis: Analysis, plan: Plan) -> Figures:
    """Return the figures that follow from the widths of a plan."""
    kept, costs = counts(plan.keep()), analysis.costs
    params, macs, size = (costs.cost_at(kind, kept) for kind in ("params", "macs", "bytes"))
    return Figures(round(params), macs, round(size), channel_counts(analysis, plan)[1])


def _layer_costs(analysis: Analysis, plan: Plan) -> Iterator[LayerCost]:
    """Yield what each layer costs before and after a plan."""
    nodes, before = analysis.graph.nodes, analysis.costs.layer_macs({})
    after = analysis.costs.layer_macs(counts(plan.keep()))
    for node, macs in sorted(before.items()):
        yield LayerCost(nodes[node].name or nodes[node].outputs[0], nodes[node].op, macs, after.get(node, 0.0))


def figures(proto: onnx.ModelProto, analysis: Analysis, size: int, channels: int, plan: Plan | None = None) -> Figures:
    """Return the figures of a model that was cut by `plan` (None: not at all), but for the latency."""
    macs = analysis.macs(None if plan is None else plan.keep())
    return Figures(params=count_params(proto), macs=macs, size=size, channels=channels)


def _quality(run: Run, pruned: PrunedModel, session: Session) -> Quality | None:
    """Measure the pruned model, beside what it was after every step before the last."""
    if run.evaluator is None:
        return None
    moved, confidence = MAX_DRIFT in pruned.plan.request, _confidence(run, pruned.planned)
    quality = run.evaluator.quality(session, moved=moved, confidence=confidence)
    if not pruned.steps:
        return quality
    own = quality.as_step(pruned.last)
    steps = (replace(own, error=s.error, taken=True) if s.name == pruned.last else s for s in pruned.steps)
    return replace(quality, steps=tuple(steps))


def _confidence(run: Run, planned: Planned) -> float | None:
    """Return the confidence that a plan was shown at by the samples that are measured on; None: by none of them.

    What is made of the plan is asked at no less: the chance that any plan passes wrongly is shared out among them.
    """
    return None if run.has_test_data or planned.search is None else planned.search.confidence


def _latencies(run: Run, pruned: Session, small: Int8 | None, threads: int | None) -> dict[str, Latency]:
    """Return the latency of one sample by model, measured in turns; nothing without samples."""
    if run.samples is None:
        return {}
    model, config = run.model, run.config
    whole = open_session(model.proto, model.weights, name=str(config.model), threads=threads)
    sessions = {"before": whole, "after": pruned, **({} if small is None else {"quantized": small.session})}
    feeds = next(run.samples.calibration.batches(1)).feeds
    calls = [chunk.feeds for chunk in whole.chunks(feeds)]
    return measure(sessions, calls[0], budget_seconds=SECONDS)


def _on_one_thread(run: Run, cut: Cut) -> dict[str, Latency]:
    """Return the latencies of both models on one thread, where that is not what is measured anyway."""
    if run.config.threads is not None:
        return {}
    return _latencies(run, open_session(cut.model, cut.weights, name="the pruned model", threads=1), None, 1)
