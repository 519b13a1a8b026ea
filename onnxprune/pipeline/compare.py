"""Comparing two models of the same task, whoever made the second one, and of what."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import attrs
import numpy as np

from onnxprune.analysis.inspect import inspect
from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model, load, with_shapes
from onnxprune.graph.renaming import named_alike
from onnxprune.graph.storage.measures import count_params
from onnxprune.graph.storage.metadata import classes_left
from onnxprune.graph.storage.paths import check_input, check_outputs
from onnxprune.graph.storage.staging import Staging
from onnxprune.latency.measure import Latency, measure
from onnxprune.pipeline.config.jobs import CompareConfig, PruneConfig
from onnxprune.pipeline.evaluator import Evaluator
from onnxprune.pipeline.events import NULL_LISTENER, Listener, Working
from onnxprune.pipeline.execution.accept import refuse_conditions
from onnxprune.pipeline.execution.evaluate import SECONDS
from onnxprune.pipeline.samples import Samples, free_sizes, open_measured, scale_pixels
from onnxprune.runtime import Session, open_session
from onnxprune.runtime.custom_ops import custom_ops
from onnxprune.selection.loss_limits import MAX_DRIFT
from onnxprune.values.compared import Compared, OpCount
from onnxprune.values.outcome import Figures

Pages = Callable[[Compared], Mapping[Path, bytes]]
"""Makes of the result what is to be written, by path."""


def no_pages(_: Compared) -> Mapping[Path, bytes]:
    """Write nothing."""
    return {}


def compare(config: CompareConfig, listener: Listener = NULL_LISTENER, pages: Pages = no_pages) -> Compared:
    """Measure two models side by side on the same data, and write what `pages` makes of that.

    Raises:
        InputError: bad input or usage, or models that cannot be fed or compared alike.
        UnreachableError: a condition of `--fail-if` holds; nothing is written then.
    """
    check_input(config.model)
    check_input(config.other)
    check_outputs(config.pages, config.inputs)
    listener.hear(Working("Reading the models"))
    with custom_ops(config.custom_ops), Staging() as staging:
        first = load(config.model, config.input_shape)
        second = _renamed(load(config.other, config.input_shape, is_step=True), first)
        found = _compared(config, first, second, listener)
        refuse_conditions(config.fail_if, found.measures)
        for path, content in pages(found).items():
            staging.write(path, content)
        staging.commit()
    return found


def _renamed(model: Model, like: Model) -> Model:
    """Return a model with the names that another one has for its inputs and outputs, and a note where it had others."""
    proto = named_alike(model.proto, like.proto, str(model.path))
    if proto is model.proto:
        return model
    note = f"{model.path.name} has other names for its inputs or outputs; they are matched by their order."
    return replace(model, proto=proto, notes=(*model.notes, note))


def _compared(config: CompareConfig, first: Model, second: Model, listener: Listener) -> Compared:
    listener.hear(Working("Opening the data"))
    opening = _opening(config, first, second)
    sessions = [
        open_session(model.proto, model.weights, name=str(model.path), threads=config.threads)
        for model in (first, second)
    ]
    samples = scale_pixels(open_measured(opening, first), opening, sessions[0], listener.track)
    listener.hear(Working("Measuring both models"))
    evaluator = Evaluator(opening, first, samples, listener.track, samples.known)
    agreement = _agreement(evaluator, sessions[1], samples) if config.check_accuracy else None
    quality, change = evaluator.quality(sessions[1]), evaluator.outputs(sessions[1])
    whole = change.compared and not change.skipped  # of outputs that cannot be compared it is not known
    bounds = {name: bound for name, bound in quality.bounds.items() if name != MAX_DRIFT}
    bounds |= {MAX_DRIFT: change.most(config.confidence)} if whole else {}
    listener.hear(Working("Measuring latency"))
    alike = {session.chunk_size or 1 for session in sessions} == {sessions[0].chunk_size or 1}
    timed = _timed(samples, sessions) if alike else {}
    alone = _timed(samples, _on_one_thread(first, second)) if alike and config.threads is None else {}
    notes = (*first.notes, *second.notes)
    if not alike:
        notes = (*notes, "The models take different numbers of samples a call, so that their latency is not compared.")
    return Compared(
        first.path,
        second.path,
        _figures(first, samples, timed.get("before"), alone.get("before")),
        _figures(second, samples, timed.get("after"), alone.get("after")),
        replace(quality, moved=change.worst if whole else None, bounds=bounds),
        agreement,
        {**change.relative_l2, **{name: 1 - share for name, share in change.equal.items()}},
        change.skipped,
        tuple(_ops(first, second)),
        samples.summary,
        speedup=timed["before"].faster(timed["after"]) if timed else None,
        single_speedup=alone["before"].faster(alone["after"]) if alone else None,
        threads=config.threads,
        confidence=config.confidence,
        notes=tuple(dict.fromkeys(notes)),
    )


def _agreement(evaluator: Evaluator, second: Session, samples: Samples) -> float | None:
    """Return the share of the samples to which both give the same class; None without labels.

    Raises:
        InputError: they tell different numbers of classes apart.
    """
    if samples.measured.labels is None:
        return None
    ours, theirs = evaluator.answers(), evaluator.answers(second)
    if ours.classes != theirs.classes:
        raise InputError(
            f"The first model tells {ours.classes} classes apart and the second {theirs.classes}, so their top-1 is "
            "not of the same task; --no-accuracy-check compares their outputs alone.",
            "wrong-outputs",
        )
    return float(np.mean(ours.predicted == theirs.predicted))


def _opening(config: CompareConfig, first: Model, second: Model) -> PruneConfig:
    """Return what the data are opened by: where a classifier was trimmed to some classes, these are chosen.

    Raises:
        InputError: the models are trimmed to other classes than each other, or than those that are asked for.
    """
    ours, theirs = classes_left(first.proto), classes_left(second.proto)
    if ours and ours != theirs:
        other = f"only {', '.join(theirs)}" if theirs else "all classes; name that one first"
        raise InputError(
            f"'{first.path}' tells only {', '.join(ours)} apart, and '{second.path}' {other}.", "wrong-outputs"
        )
    if ours or not theirs:
        return config.opening
    if config.classes and {*config.classes} != {*theirs}:
        raise InputError(
            f"'{second.path}' tells only {', '.join(theirs)} apart, and is compared on these; leave --classes out.",
            "conflicting-options",
        )
    return attrs.evolve(config.opening, classes=theirs)


def _on_one_thread(first: Model, second: Model) -> list[Session]:
    return [open_session(model.proto, model.weights, name=str(model.path), threads=1) for model in (first, second)]


def _timed(samples: Samples, sessions: list[Session]) -> dict[str, Latency]:
    """Return the latencies of one sample, measured in turn."""
    feeds = next(samples.measured.batches(1)).feeds
    call = next(iter(sessions[0].chunks(feeds))).feeds
    return measure(dict(zip(("before", "after"), sessions, strict=True)), call, budget_seconds=SECONDS)


def _figures(model: Model, samples: Samples, timed: Latency | None, alone: Latency | None) -> Figures:
    """Return the figures of a model, for the sizes that the samples have where its file leaves them free."""
    free = {} if model.shapes else free_sizes(model, samples)
    analysis = inspect(with_shapes(model, free) if free else model)
    return Figures(
        count_params(model.proto),
        analysis.macs(),
        model.size,
        sum(group.size for group in analysis.prunable),
        None if timed is None else timed.median_ms,
        None if alone is None else alone.median_ms,
    )


def _ops(first: Model, second: Model) -> Iterator[OpCount]:
    """Yield the kinds of nodes that one model has more of."""
    ours, theirs = (Counter(node.kind for node in model.graph.nodes) for model in (first, second))
    for kind in sorted({*ours, *theirs}):
        if ours[kind] != theirs[kind]:
            yield OpCount(kind, ours[kind], theirs[kind])
