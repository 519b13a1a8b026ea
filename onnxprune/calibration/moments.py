"""Second moments of what the layers behind the groups read: every channel at every tap of the kernel, together.

The inputs of all these layers leave the runtime, a few samples at a time, and are looked at where some positions of
their outputs read them. Memory depends on the widths of the layers, not on the number of samples.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.norms import Norm, find_norms
from onnxprune.calibration.inner import SAMPLES_PER_CALL, inner_session
from onnxprune.calibration.probes import POSITIONS
from onnxprune.calibration.shrinkage import Spread
from onnxprune.data.dataset import Dataset
from onnxprune.graph.model import Graph, weight_layout_of
from onnxprune.linear.layers import Layer, find_layers
from onnxprune.linear.matrix import as_matrix, input_axis
from onnxprune.linear.patches import patches, picked, sample_rows
from onnxprune.runtime.session import Chunk
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import Consumer

PENDING_ROWS = 2048
"""Rows that are multiplied with each other at a time."""

MOST_INPUTS = 4608
"""Widest system whose moments are gathered; a wider layer (a fully connected one behind a map) is left out."""


class _LayerMoments:
    """What is gathered of one layer.

    Attributes:
        layer: the layer.
        matrix: its weight as the target sees it, [groups, inputs, outputs].
        tapped: whether inputs are channels times taps, or channels alone.
        about: what moments of the inputs are taken about, by channel; None: their means.
        space: the sizes of its output by spatial axis, where that need not be looked at because all about the target
            follows from the inputs; else None.
    """

    def __init__(self, graph: Graph, layer: Layer, most_tapped: int, about: NDArray[Any] | None) -> None:
        matrix = as_matrix(layer.node, graph.facts.known[layer.weight].first)
        groups, inputs, outputs = matrix.shape
        self.layer = layer
        self.matrix = matrix * layer.slope.reshape(groups, 1, outputs)
        self.tapped = inputs <= most_tapped or not layer.kernel
        if not self.tapped:
            self.matrix = self.matrix.reshape(groups, layer.shape[input_axis(layer.node)], -1)
        self.about = about
        self.space = _space(graph, layer) if layer.alone and self.tapped else None
        self._pending: list[NDArray[Any]] = []
        self._rows, self._seen = 0, 0
        self._origin: NDArray[Any] = np.zeros(0)
        self._x, self._xx = np.zeros(0), np.zeros((0, 0))
        self._spread = Spread(groups)
        self._y, self._yy = np.zeros(groups * outputs), 0.0

    @property
    def inputs(self) -> int:
        """The width of the linear system."""
        return int(self.matrix.shape[1])

    @property
    def outputs(self) -> tuple[str, ...]:
        """The tensors that have to be seen."""
        return (self.layer.source,) if self.space is not None else (self.layer.source, self.layer.target)

    def add(self, found: dict[str, NDArray[Any]], chunk: Chunk, rng: np.random.Generator) -> None:
        """Take in what the layer reads, and its target, at some positions of every sample of a call."""
        layer, source = self.layer, chunk.real(found[self.layer.source])
        if self.space is not None:
            space = self.space
        else:
            target = chunk.real(found[layer.target])
            space = layer.space(target.shape)
        rows = sample_rows((len(source), *space), 0, POSITIONS, rng)
        if self.tapped:
            self._take(patches(layer.node, source, layer.kernel, rows, space), len(source))
        else:
            places = sample_rows(source.shape, 1, POSITIONS, rng)
            self._take(picked(source, 1, places).reshape(len(places.image), len(self.matrix), -1), len(source))
        if self.space is None:
            y = picked(target, layer.channels, rows).astype(np.float64)
            self._seen += len(y)
            self._y += y.sum(axis=0)
            self._yy += float(np.square(y).sum())

    def _take(self, x: NDArray[Any], samples: int) -> None:
        """Hold the rows of some samples, the same number of each, until their products are worth the while."""
        x = x.astype(np.promote_types(x.dtype, np.float32), copy=False)  # half precision has no room for products
        self._pending.append(x.reshape(samples, -1, *x.shape[1:]))
        if sum(x.shape[0] * x.shape[1] for x in self._pending) >= PENDING_ROWS:
            self._multiply()

    def _multiply(self) -> None:
        if not self._pending:
            return
        if not self._rows:  # single precision has no digits left for the variance of what lies far from 0
            rows = np.concatenate([x.reshape(-1, *x.shape[2:]) for x in self._pending])
            self._origin = rows.mean(axis=0)
            self._x, self._xx = np.zeros(rows.shape[1:]), np.zeros((*rows.shape[1:], rows.shape[2]))
        for x in self._pending:
            by_sample = (x - self._origin).transpose(2, 0, 1, 3)  # [groups, samples, rows of a sample, inputs]
            flat = by_sample.reshape(len(by_sample), -1, self.inputs)
            self._xx += flat.transpose(0, 2, 1) @ flat
            self._x += flat.sum(axis=1, dtype=np.float64)
            self._rows += flat.shape[1]
            self._spread.add(by_sample)
        self._pending = []

    def result(self) -> Consumer | None:
        """Return what was found, or None where nothing was looked at."""
        self._multiply()
        if not self._rows:
            return None
        layer, mean, matrix = self.layer, self._x / self._rows, self.matrix.astype(np.float64)
        about_origin = self._xx / self._rows
        moments = covariances = about_origin - mean[:, :, None] * mean[:, None, :]
        if self.about is not None:
            taps = self.inputs // len(self.about)
            far = mean + self._origin - np.repeat(self.about, taps)
            moments = covariances + far[:, :, None] * far[:, None, :]
        share = self._spread.share(about_origin)
        if self.space is not None:
            scale = float((matrix * (covariances @ matrix)).sum())
        else:
            scale = self._yy / self._seen - float(np.square(self._y / self._seen).sum())
        return Consumer(layer.output, _axis(layer), matrix, moments, layer.shape[input_axis(layer.node)], scale, share)


def _space(graph: Graph, layer: Layer) -> tuple[int, ...] | None:
    """Return the spatial sizes of a layer's output if they do not depend on the sample."""
    pair = graph.facts.shape_pair(layer.output)
    if pair is None:
        return None
    first, second = map(layer.space, pair)
    return first if first == second else None


def input_moments(
    analysis: Analysis,
    dataset: Dataset,
    *,
    most_tapped: int = MOST_INPUTS,
    most_moments: int | None = None,
    seed: int = 0,
    track: Track = silent,
) -> tuple[Consumer, ...]:
    """Gather the moments of every layer whose weight sums over channels of a prunable group.

    Layers with more than `most_tapped` inputs (channels times taps) are looked at by channel, as though what the taps
    read had nothing to do with each other. Where there would be more than `most_moments` in all, the widest layers are
    left out.

    Moments are about the means, which a bias makes up for. Behind a normalisation over channels that can go they are
    about what is always added there: the mean of a channel is a part of what the normalisation divides by, and no bias
    makes up for that.

    Left out are layers that cannot be written as a linear system (`find_layers` says which), grouped ConvTranspose, and
    systems wider than `MOST_INPUTS`.
    """
    sums = _affordable(_start(analysis, most_tapped), most_moments)
    if not sums:
        return ()
    session = inner_session(analysis.graph, dict.fromkeys(name for entry in sums for name in entry.outputs))
    rng = np.random.default_rng(seed)
    for batch in track(dataset.batches(SAMPLES_PER_CALL), total=len(dataset), what="Gathering moments"):
        for chunk in session.chunks(batch.feeds):
            found = session.run(chunk.feeds)
            for entry in sums:
                entry.add({**chunk.feeds, **found}, chunk, rng)
    results = (entry.result() for entry in sums)
    return tuple(result for result in results if result is not None)


def _start(analysis: Analysis, most_tapped: int) -> list[_LayerMoments]:
    read = {member.axis for group in analysis.prunable for member in group.members if member.role == "weight"}
    inexact = {member.axis for group in analysis.prunable if group.approximate for member in group.members}
    norms = find_norms(analysis.graph)
    found = []
    for layer in find_layers(analysis.graph, solvable=False)[0]:
        layout = weight_layout_of(layer.node)
        if _axis(layer) not in read or (layout.transposed and layout.groups > 1):
            continue  # the groups of a ConvTranspose lie on the same axis of its weight as its channels
        norm = norms.get(layer.source) if _axis(layer) in inexact and layout.groups == 1 else None
        about = None if norm is None else _always_added(analysis.graph, norm)
        found.append(_LayerMoments(analysis.graph, layer, most_tapped, about))
    return [sums for sums in found if sums.inputs <= MOST_INPUTS]


def _always_added(graph: Graph, norm: Norm) -> NDArray[Any] | None:
    """Return the shift of a normalisation, [channels]; None: it is not one number a channel."""
    size = graph.facts.shapes[0][norm.output][-1]
    shift = np.zeros(size) if norm.shift is None else graph.facts.known[norm.shift.name].first
    return shift if shift.shape == (size,) else None


def _affordable(found: list[_LayerMoments], most: int | None) -> list[_LayerMoments]:
    """Leave out the widest until there are no more than `most` moments."""
    if most is None:
        return found
    by_width = sorted(found, key=lambda sums: sums.inputs)
    total = np.cumsum([len(sums.matrix) * sums.inputs**2 for sums in by_width])
    left = {id(sums) for sums, sofar in zip(by_width, total, strict=True) if sofar <= most}
    return [sums for sums in found if id(sums) in left]


def _axis(layer: Layer) -> Axis:
    return Axis(Ref(layer.weight, layer.node.index, weight_layout_of(layer.node).weight), input_axis(layer.node))
