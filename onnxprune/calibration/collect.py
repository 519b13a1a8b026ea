"""Run the instrumented model over the calibration data and add up the statistics per class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.analysis.analyse import Analysis
from onnxprune.calibration.instrument import Probe, instrumented, start
from onnxprune.calibration.points import Point, find_points
from onnxprune.calibration.probes import PROBES, SKIPPED, Accumulator, Range
from onnxprune.data.dataset import Dataset
from onnxprune.data.split import take
from onnxprune.graph.model import Graph
from onnxprune.runtime.session import Session, open_session
from onnxprune.values.axes import FloatArray, IntArray, frozen_array
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import LayerStatistics, Statistics

RANGE_IMAGES = 64
"""Images that the value ranges of histograms are taken from; later values outside are clipped and counted."""

BYTES_PER_CALL = 1 << 28
"""Most bytes of bin numbers that one call may bring out of the runtime; the batch shrinks to fit."""


@dataclass
class _Slot:
    point: Point
    statistic: str
    output: str
    accumulator: Accumulator


def collect(
    analysis: Analysis,
    dataset: Dataset,
    needs: frozenset[str],
    *,
    batch_size: int = 32,
    seed: int = 0,
    track: Track = silent,
) -> Statistics:
    """Gather the statistics `needs` of every layer that produces prunable channels.

    Whole feature maps never leave the runtime: they are reduced there to numbers per image and channel, or to one byte
    per element for histograms. Unlabelled data counts as one class.
    """
    labels = dataset.labels
    classes = 1 if labels is None else max(len(dataset.class_names), int(labels.max()) + 1)
    samples = np.zeros(classes, dtype=np.int64)
    points = find_points(analysis) if needs else ()
    ranges = _ranges(analysis.graph, points, needs, dataset, batch_size, seed, track)
    slots, session = _instrument(analysis.graph, points, needs, ranges, classes)
    batch_size = _affordable(points, needs, batch_size)
    if session is not None:
        for batch in track(dataset.batches(batch_size), total=len(dataset), what="Collecting statistics"):
            of_class = np.zeros(len(batch), dtype=np.int64) if batch.labels is None else batch.labels
            samples += np.bincount(of_class, minlength=classes)
            _run(session, batch.feeds, of_class, slots)
    return Statistics(
        layers=_results(points, slots, samples),
        samples=frozen_array(samples),
        class_names=dataset.class_names,
        labelled=labels is not None,
    )


def _affordable(points: Sequence[Point], needs: frozenset[str], batch_size: int) -> int:
    """Return a batch size at which the bytes that leave the runtime in one call stay bounded."""
    per_image = sum(point.channels * point.positions for point in points if "map entropy" in _wanted(point, needs))
    return max(1, min(batch_size, BYTES_PER_CALL // max(1, per_image)))


def _wanted(point: Point, needs: frozenset[str]) -> list[str]:
    return sorted(name for name in needs if name not in SKIPPED[point.kind])


def _ranges(
    graph: Graph,
    points: Sequence[Point],
    needs: frozenset[str],
    dataset: Dataset,
    batch_size: int,
    seed: int,
    track: Track,
) -> dict[tuple[str, str], Range]:
    """Find the lowest and highest value of everything that goes into a histogram, over a sample of the data."""
    probe = start(graph)
    places: dict[tuple[str, str], tuple[str, str]] = {}
    for point in points:
        for name in _wanted(point, needs):
            ranged = PROBES[name].ranged
            if ranged is not None:
                source = ranged(probe, point)
                ends = [probe.output(probe.add(op, [source], keepdims=0)) for op in ("ReduceMin", "ReduceMax")]
                places[point.layer, name] = (ends[0], ends[1])
    if not places:
        return {}
    session = _session(probe)
    some = take(dataset, min(RANGE_IMAGES, len(dataset)), seed)
    limits = dict.fromkeys(places, (np.inf, -np.inf))
    for batch in track(some.batches(batch_size), total=len(some), what="Finding value ranges"):
        for chunk in session.chunks(batch.feeds):
            found = session.run(chunk.feeds)
            for key, (low, high) in places.items():
                limits[key] = (min(limits[key][0], float(found[low])), max(limits[key][1], float(found[high])))
    return limits


def _instrument(
    graph: Graph,
    points: Sequence[Point],
    needs: frozenset[str],
    ranges: dict[tuple[str, str], Range],
    classes: int,
) -> tuple[list[_Slot], Session | None]:
    probe = start(graph)
    slots = []
    for point in points:
        for name in _wanted(point, needs):
            output = probe.output(PROBES[name].probe(probe, point, ranges.get((point.layer, name))))
            slots.append(_Slot(point, name, output, PROBES[name].accumulate(point, classes)))
    if not slots:
        return [], None
    return slots, _session(probe)


def _session(probe: Probe) -> Session:
    """Load the instrumented model; it takes as many samples in one call as the model's own outputs suggest."""
    weights = probe.graph.weights
    chunk_size = open_session(probe.graph.model, weights, optimization="none", prepack=False).chunk_size
    session = open_session(instrumented(probe), weights, name="the instrumented model")
    session.chunk_size = chunk_size
    return session


def _run(session: Session, feeds: dict[str, NDArray[Any]], labels: IntArray, slots: Sequence[_Slot]) -> None:
    for chunk in session.chunks(feeds):
        found = session.run(chunk.feeds)
        of_class = labels[chunk.start : chunk.start + chunk.count]
        for slot in slots:
            value = found[slot.output]
            rows = value.reshape(chunk.size, -1, *value.shape[1:])  # the rows of a sample follow each other
            slot.accumulator.add(rows[: chunk.count], of_class)


def _results(points: Sequence[Point], slots: Sequence[_Slot], samples: IntArray) -> dict[str, LayerStatistics]:
    found: dict[str, LayerStatistics] = {}
    for point in points:
        values: dict[str, FloatArray] = {}
        clipped, total = 0, 0
        for slot in slots:
            if slot.point is point:
                values[slot.statistic] = frozen_array(slot.accumulator.result(samples))
                outside, seen = slot.accumulator.clipped
                clipped, total = clipped + outside, total + seen
        share = clipped / total if total else 0.0
        found[point.layer] = LayerStatistics(point.layer, point.tensor, point.kind, point.positions, values, share)
    return found
