"""Arranging a model before anything goes, so that what goes is worth less; it computes what it did.

Channels within the groups of convolutions are put in order (decision 38), and residual streams that normalisations read
are turned into their principal axes (decision 39).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.blocks import Blocks, find_blocks, sources
from onnxprune.analysis.inspect import inspect
from onnxprune.analysis.streams import Stream, find_streams
from onnxprune.calibration.streams import stream_covariances
from onnxprune.data import take
from onnxprune.errors import InputError
from onnxprune.graph.model import Graph, read_graph
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.importance.principal_axes import principal_axes
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.execution.cut import verification_feeds
from onnxprune.pipeline.planning.orders import SAMPLES, best_orders
from onnxprune.recovery.recovery import steps
from onnxprune.surgery.reorder import reorder
from onnxprune.surgery.turn import turn
from onnxprune.values.arrangement import Arrangement
from onnxprune.values.axes import FloatArray, IntArray
from onnxprune.verification.equality import computes_the_same

SOLVING = ("refit", "match")
"""Recoveries that give new weights to what reads a stream."""

LARGEST_ERROR = 1e-4
"""By how much an arranged model may differ, for rounding, as a share of its outputs."""


_COMPARED = 2
"""Samples on which all that reads what has moved is compared: many tensors, each with many places."""

_CHANGED = "Arranged as the plan or the scores say, the model computes something else; make them again."


@contextmanager
def arranged(run: Run) -> Iterator[Run]:
    """Have the run with the model arranged as serves best; what is not seen to compute the same stays as it is."""
    with _in_best_order(run) as ordered, _in_principal_axes(ordered) as turned:
        yield turned


@contextmanager
def arranged_as(run: Run, arrangement: Arrangement) -> Iterator[Run]:
    """Have the run with the model arranged as a plan or a file of scores has it.

    Raises:
        InputError: it is none of this model's, or there are no samples such as streams were turned by.
    """
    with _ordered_as(run, arrangement) as ordered, _turned_as(ordered, arrangement) as turned:
        yield turned


@contextmanager
def _ordered_as(run: Run, arrangement: Arrangement) -> Iterator[Run]:
    if not arrangement.orders:
        yield run
        return
    blocks = find_blocks(run.analysis)
    with _in_order(run, blocks, arrangement.orders) as ordered:
        if not _is_same(run, ordered, _reordered(blocks, arrangement.orders)):
            raise InputError(_CHANGED, "wrong-model")
        yield ordered


@contextmanager
def _turned_as(run: Run, arrangement: Arrangement) -> Iterator[Run]:
    if not arrangement.turned:
        yield run
        return
    if run.samples is None or run.data_facts["digest"] != arrangement.samples:
        raise InputError(
            "Streams were turned into the principal axes of the samples that the plan or the scores were made "
            "with; give the same with --data, and what parts them alike (--test, --holdout, --seed, --classes).",
            "no-data" if run.samples is None else "data-mismatch",
        )
    streams = [stream for stream in find_streams(run.analysis) if stream.group in arrangement.turned]
    if len(streams) < len({*arrangement.turned}):
        raise InputError("A stream cannot be turned as is asked for; make the plan or the scores again.", "wrong-model")
    with _turned(run, streams, _axes_of(run, streams, arrangement.seed), arrangement.seed) as turned:
        if turned is None or not _is_same(run, turned, _in_streams(run, streams)):
            raise InputError(_CHANGED, "wrong-model")
        yield turned


@contextmanager
def _in_best_order(run: Run) -> Iterator[Run]:
    blocks = find_blocks(run.analysis)
    if not blocks.of:
        yield run
        return
    run.working("Ordering channels within the groups of convolutions")
    data = None if run.samples is None else run.samples.calibration
    orders = best_orders(run.analysis, blocks, data, seed=run.config.seed, track=run.listener.track)
    layers = len(blocks.columns)
    what = "a grouped convolution" if layers == 1 else f"{layers} grouped convolutions"
    note = f"The channels of {what} were put in order first, so that every group loses its own least ones."
    with _in_order(run, blocks, orders) as ordered:
        yield _noted(ordered, note) if _is_seen_to_be_same(run, ordered, _reordered(blocks, orders)) else run


@contextmanager
def _in_principal_axes(run: Run) -> Iterator[Run]:
    streams = find_streams(run.analysis) if run.config.approximate and run.samples is not None else ()
    whole = {group.name for group in run.analysis.groups if run.goal.steering.leaves_whole(group)}
    streams = tuple(stream for stream in streams if stream.group not in whole)
    # The spread of what stays is another one: what reads the stream has to be solved for anew.
    if not streams or not any(step.name in SOLVING for step in steps(run.config.recovered_by)):
        yield run
        return
    run.working("Turning streams into their principal axes")
    axes = _axes_of(run, streams, run.config.seed)
    with ExitStack() as stack:
        found = stack.enter_context(_seen_to_turn(run, streams, axes))
        turned = streams
        if found is None and len(streams) > 1:
            turned = tuple(stream for stream in streams if _turns_alone(run, stream, axes))
            found = stack.enter_context(_seen_to_turn(run, turned, axes))
        yield run if found is None else _noted(found, _said(turned, left=len(streams) - len(turned)))


def _said(turned: Sequence[Stream], left: int) -> str:
    """Return the note on streams that were turned, and others that were left."""
    many = f"{len(turned)} streams were turned into their principal axes first"
    one = f"The stream {turned[0].group!r} was turned into its principal axes first"
    others = f"; {left} more would have changed what is computed, and stayed" if left else ""
    return f"{one if len(turned) == 1 else many}{others}."


def _turns_alone(run: Run, stream: Stream, axes: Mapping[Stream, FloatArray]) -> bool:
    with _seen_to_turn(run, (stream,), axes) as found:
        return found is not None


@contextmanager
def _seen_to_turn(run: Run, streams: Sequence[Stream], axes: Mapping[Stream, FloatArray]) -> Iterator[Run | None]:
    """Have the run with streams turned; None where the model is not seen to compute the same then."""
    if not streams:
        yield None
        return
    with _turned(run, streams, axes, run.config.seed) as turned:
        same = turned is not None and _is_seen_to_be_same(run, turned, _in_streams(run, streams))
        yield turned if same else None


@contextmanager
def _in_order(run: Run, blocks: Blocks, orders: Mapping[str, IntArray]) -> Iterator[Run]:
    stored = reorder(run.analysis, blocks, orders)
    with _in_place(run, stored, replace(run.model.arrangement, orders=dict(orders))) as ordered:
        assert ordered is not None, "orders change values alone"
        yield ordered


def _axes_of(run: Run, streams: Sequence[Stream], seed: int) -> dict[Stream, FloatArray]:
    """Return the principal axes of the streams that are finite on all samples."""
    data = run.calibration_samples.calibration
    some = take(data, min(SAMPLES, len(data)), seed)
    found = stream_covariances(run.analysis, streams, some, seed=seed, track=run.listener.track)
    both = zip(streams, found, strict=True)
    return {stream: principal_axes(c, centred=stream.centred) for stream, c in both if np.isfinite(c).all()}


@contextmanager
def _turned(run: Run, streams: Sequence[Stream], axes: Mapping[Stream, FloatArray], seed: int) -> Iterator[Run | None]:
    """Have the run with streams turned; None where one has no axes, or its model cannot take the run's place."""
    if not axes.keys() >= {*streams}:
        yield None
        return
    stored = turn(run.analysis, {stream: axes[stream] for stream in streams})
    names = tuple(stream.group for stream in streams)
    how = replace(run.model.arrangement, turned=names, seed=seed, samples=run.data_facts["digest"])
    with _in_place(run, stored, how) as turned:
        yield turned


@contextmanager
def _in_place(run: Run, stored: StoredModel, arrangement: Arrangement) -> Iterator[Run | None]:
    """Have the run with another model that computes the same, from files if its weights lie in such.

    Where constants had to be copied the model is analysed anew. None: its groups are others then, or its layers were
    timed under other numbers.
    """
    beside = stored.weights.changed and not run.config.dry_run
    scratch = run.staging.aside(run.config.written) if beside else None
    with on_disk(*stored, scratch) as (proto, weights):
        graph = read_graph(proto, weights, run.model.shapes)
        model = replace(run.model, proto=proto, graph=graph, origin=run.model.first, arrangement=arrangement)
        if _wiring(graph) == _wiring(run.model.graph):
            yield replace(run, model=model, analysis=replace(run.analysis, graph=graph))
            return
        analysis = inspect(model, allow=run.config.allow, trim_head=run.config.trim_head)
        alike = _outline(analysis) == _outline(run.analysis) and run.analysis.costs.latency_model is None
        yield replace(run, model=model, analysis=analysis) if alike else None


def _wiring(graph: Graph) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(node.inputs, node.outputs) for node in graph.nodes]


def _outline(analysis: Analysis) -> list[tuple[str, int, bool]]:
    return [(group.name, group.size, group.prunable) for group in analysis.groups]


def _reordered(blocks: Blocks, orders: Mapping[str, IntArray]) -> set[str]:
    """Return the tensors whose channels stand in another order."""
    return {axis.ref.name for axis, _ in sources(blocks, orders)}


def _in_streams(run: Run, streams: Sequence[Stream]) -> set[str]:
    """Return the tensors of streams."""
    groups = (run.analysis.by_name[stream.group] for stream in streams)
    return {member.axis.ref.name for group in groups for member in group.members}


def _is_seen_to_be_same(run: Run, other: Run, moved: set[str]) -> bool:
    try:
        return _is_same(run, other, moved)
    except InputError:  # onnxruntime cannot run it, or not on random inputs
        return False


def _is_same(run: Run, other: Run, moved: set[str]) -> bool:
    """Whether the arranged model computes what the model does, in all that reads what has moved and in the outputs."""
    graph = run.model.graph
    readers = [node for node in graph.nodes if moved & {*node.inputs} and not moved & {*node.outputs}]
    samples, seed = run.samples, run.config.seed
    data = None if samples is None else take(samples.calibration, min(_COMPARED, len(samples.calibration)), seed)
    feeds = verification_feeds(run.model, data, seed)
    tensors = [node.outputs[0] for node in readers if not graph.is_folded(node)]
    return computes_the_same(graph, StoredModel(other.model.proto, other.model.weights), feeds, tensors, LARGEST_ERROR)


def _noted(run: Run, note: str) -> Run:
    return replace(run, model=replace(run.model, notes=(*run.model.notes, note)))
