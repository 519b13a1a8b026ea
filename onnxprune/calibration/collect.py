"""Run the instrumented model over the calibration data and add up the statistics per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.calibration.accumulators import Accumulator
from onnxprune.calibration.instrument import Probe, instrumented, start
from onnxprune.calibration.moments import input_moments
from onnxprune.calibration.points import Point, find_points
from onnxprune.calibration.probes import PROBES, SAMPLE_WEIGHT, SKIPPED, Range
from onnxprune.calibration.weights import read_weights
from onnxprune.data.dataset import Dataset
from onnxprune.data.split import take
from onnxprune.errors import InputError
from onnxprune.graph.model import Graph
from onnxprune.runtime.session import Session, open_session
from onnxprune.values.axes import FloatArray, IntArray, frozen_array
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import COARSE_MOMENTS, MOMENTS, STORED, Consumer, LayerStatistics, Statistics

RANGE_IMAGES = 32
"""Images that the value ranges of histograms are taken from; later values outside are clipped and counted."""

OF_INPUTS = frozenset({MOMENTS, COARSE_MOMENTS})

COARSE_IMAGES = 64
"""Images that coarse moments are taken from."""

COARSE_INPUTS = 1152
"""Widest layer, in channels x taps, whose coarse moments tell the taps apart."""

COARSE_MOST = 1 << 27
"""Most coarse moments of all layers together: a gigabyte."""

BYTES_PER_CALL = 1 << 25
"""Most bytes of a layer's maps in one call: what is still in the cache is looked at for next to nothing."""


@dataclass
class _Slot:
    point: Point
    statistic: str
    output: str
    accumulator: Accumulator


def collect(
    analysis: Analysis,
    dataset: Dataset | None,
    needs: frozenset[str],
    *,
    batch_size: int = 32,
    seed: int = 0,
    track: Track = silent,
) -> Statistics:
    """Gather the statistics `needs` of every layer that makes prunable channels.

    Feature maps are reduced inside the runtime: to numbers per image and channel, to some positions, or to one byte per
    element for histograms. Unlabelled data counts as one class. What is read from the model alone needs no dataset.

    Raises:
        InputError: a statistic that there is none of, or data that the model cannot be run on.
    """
    unknown = sorted(needs - PROBES.keys() - STORED - OF_INPUTS)
    if unknown:
        known = ", ".join(sorted({*PROBES, *STORED, *OF_INPUTS}))
        raise InputError(
            f"The method needs the statistic {unknown[0]!r}, which there is none of; there are: {known}.",
            "unknown-name",
        )
    stored = read_weights(analysis, needs) if needs & STORED else {}
    if dataset is None:
        return Statistics(stored, samples=np.zeros(0, dtype=np.int64), labelled=False)
    samples = _count(dataset)
    measured = _measure(analysis, dataset, needs - STORED - OF_INPUTS, samples, batch_size, seed, track)
    return Statistics(
        layers=_merged(measured, stored),
        samples=frozen_array(samples),
        class_names=dataset.class_names,
        labelled=dataset.labels is not None,
        consumers=_consumers(analysis, dataset, needs, seed, track),
    )


def _consumers(
    analysis: Analysis, dataset: Dataset, needs: frozenset[str], seed: int, track: Track
) -> tuple[Consumer, ...]:
    if MOMENTS in needs:
        return input_moments(analysis, dataset, seed=seed, track=track)
    if COARSE_MOMENTS in needs:
        some = take(dataset, COARSE_IMAGES, seed)
        return input_moments(
            analysis, some, most_tapped=COARSE_INPUTS, most_moments=COARSE_MOST, seed=seed, track=track
        )
    return ()


def _count(dataset: Dataset) -> IntArray:
    """Return the samples of each class; unlabelled data is one class."""
    if dataset.labels is None:
        return np.asarray([len(dataset)], dtype=np.int64)
    classes = max(len(dataset.class_names), int(dataset.labels.max()) + 1)
    return np.bincount(dataset.labels, minlength=classes).astype(np.int64)


def _measure(
    analysis: Analysis,
    dataset: Dataset,
    needs: frozenset[str],
    samples: IntArray,
    batch_size: int,
    seed: int,
    track: Track,
) -> dict[str, LayerStatistics]:
    """Run the instrumented model over the data."""
    points = find_points(analysis) if needs else ()
    batch_size = _affordable(points, batch_size)
    ranges = _ranges(analysis.graph, points, needs, dataset, batch_size, seed, track)
    slots, session = _instrument(analysis.graph, points, needs, ranges, len(samples))
    weights = 1.0 / np.maximum(samples, 1)
    if session is not None:
        for batch in track(dataset.batches(batch_size), total=len(dataset), what="Collecting statistics"):
            of_class = np.zeros(len(batch), dtype=np.int64) if batch.labels is None else batch.labels
            _run(session, batch.feeds, of_class, weights[of_class], slots)
    return _results(points, slots, samples)


def _merged(
    measured: Mapping[str, LayerStatistics], stored: Mapping[str, LayerStatistics]
) -> dict[str, LayerStatistics]:
    """Put what was measured of a layer and what its weights say together; a layer may have either alone."""
    found = {**stored, **measured}
    for name in measured.keys() & stored.keys():
        own = stored[name]
        found[name] = replace(
            measured[name], values={**own.values, **measured[name].values}, weight_rows=own.weight_rows
        )
    return found


def _affordable(points: Sequence[Point], batch_size: int) -> int:
    """Return a batch size at which the largest map stays within `BYTES_PER_CALL`."""
    widest = max((4 * point.channels * point.positions for point in points), default=1)
    return max(1, min(batch_size, BYTES_PER_CALL // widest))


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
    made: dict[Any, str] = {}  # statistics that are sums of the same tensor have it brought out once
    if any(PROBES[name].whole for point in points for name in _wanted(point, needs)):
        probe.inputs.append(onnx.helper.make_tensor_value_info(SAMPLE_WEIGHT, onnx.TensorProto.FLOAT, [None]))
    for point in points:
        for name in _wanted(point, needs):
            limits = ranges.get((point.layer, name))
            key = (PROBES[name].probe, point.layer, limits)
            if key not in made:
                made[key] = probe.output(PROBES[name].probe(probe, point, limits))
            output = made[key]
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


def _run(
    session: Session, feeds: dict[str, NDArray[Any]], labels: IntArray, weights: FloatArray, slots: Sequence[_Slot]
) -> None:
    weighted = any(spec.name == SAMPLE_WEIGHT for spec in session.inputs)
    for chunk in session.chunks(feeds):
        of_class = labels[chunk.start : chunk.start + chunk.count]
        more = {}
        if weighted:
            filled = np.zeros(chunk.size, dtype=np.float32)  # samples that only fill the call up weigh nothing
            filled[: chunk.count] = weights[chunk.start : chunk.start + chunk.count]
            more[SAMPLE_WEIGHT] = filled
        found = session.run({**chunk.feeds, **more})
        for slot in slots:
            value = found[slot.output]
            if PROBES[slot.statistic].whole:
                slot.accumulator.add(value, of_class)
                continue
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
