"""Putting the channels within the groups of convolutions into the order that serves best, before anything goes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from onnxprune.analysis.blocks import find_blocks
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.execution.cut import verification_feeds
from onnxprune.pipeline.planning.orders import best_orders
from onnxprune.surgery.reorder import reorder
from onnxprune.values.axes import IntArray
from onnxprune.verification.equality import UNCHECKABLE_NOISE, check_equality


@contextmanager
def in_best_order(run: Run) -> Iterator[Run]:
    """Have the run with the model in the best order, or as it is where nothing can change places.

    A model that computes anything else in another order, or whose outputs do not tell, stays as it is.
    """
    blocks = find_blocks(run.analysis)
    if not blocks.of:
        yield run
        return
    run.working("Ordering channels within the groups of convolutions")
    data, seed = None if run.samples is None else run.samples.calibration, run.config.seed
    with in_order(run, best_orders(run.analysis, blocks, data, seed=seed, track=run.listener.track)) as turned:
        feeds = verification_feeds(run.model, data, seed)
        same = check_equality(run.analysis, turned.model.proto, {}, feeds, turned.model.weights)
        if same.status == "different" or same.noise > UNCHECKABLE_NOISE:
            yield run
            return
        layers = len(blocks.columns)
        what = "a grouped convolution" if layers == 1 else f"{layers} grouped convolutions"
        note = f"The channels of {what} were put in order first, so that every group loses its own least ones."
        yield replace(turned, model=replace(turned.model, notes=(*turned.model.notes, note)))


@contextmanager
def in_order(run: Run, orders: Mapping[str, IntArray]) -> Iterator[Run]:
    """Have the run with the model in the order of a plan or of a file of scores.

    Raises:
        InputError: an order is none of this model's channels.
    """
    if not orders:
        yield run
        return
    model, analysis = run.model, run.analysis
    stored = reorder(analysis, find_blocks(analysis), orders)
    scratch = run.staging.aside(run.config.written) if stored.weights.changed else None
    with on_disk(*stored, scratch) as (proto, weights):
        graph = read_graph(proto, weights, model.shapes)
        turned = replace(model, proto=proto, graph=graph, orders=dict(orders), origin=model)
        yield replace(run, model=turned, analysis=replace(analysis, graph=graph))
