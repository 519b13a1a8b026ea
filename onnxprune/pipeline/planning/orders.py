"""In which order channels stand within the groups of convolutions, so that equal columns are worth about the same.

A convolution's groups have to stay equally wide: the channels in the same column of all groups go together. As the file
has them, a column holds channels that have nothing to do with each other. Ordered by what each is worth to the layers
that read it, every group loses its own least channels.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.blocks import Blocks
from onnxprune.calibration.moments import input_moments
from onnxprune.data import Dataset, take
from onnxprune.importance.elimination import System, eliminate
from onnxprune.values.axes import Axis, FloatArray, IntArray
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import Consumer

STEPS = 16
"""Steps in which the channels of a block are ranked."""

SAMPLES = 128
"""Samples that the worth of channels is seen on."""


@dataclass(frozen=True, eq=False)
class _Weight:
    """A weight that makes or reads the channels of a group.

    Attributes:
        axis: of the weight.
        places: of the channels, [blocks, channels, places of a channel]: on that axis, or, where it has the columns of
            a convolution's groups, on the axis that has those of all groups.
        width: columns of one group; 0 where the axis has all channels.
        groups: how many there are.
    """

    axis: Axis
    places: IntArray
    width: int = 0
    groups: int = 1


def best_orders(
    analysis: Analysis, blocks: Blocks, dataset: Dataset | None, *, seed: int = 0, track: Track = silent
) -> dict[str, IntArray]:
    """Return for each group of channels their order within the groups of convolutions, the most valuable first.

    With data, channels go out of each block one after the other, the one that its readers make up for best going first
    (see `elimination`), and the order is the reverse. Without, or where no reader can be written as a linear system,
    the worth is the product of the norms of all weights that make and read a channel.

    Returns:
        Channel group -> [blocks, channels], the channel of the block that comes to each place.
    """
    consumers: dict[Axis, Consumer] = {}
    if dataset is not None:
        some = take(dataset, min(SAMPLES, len(dataset)), seed)
        consumers = {consumer.axis: consumer for consumer in input_moments(analysis, some, seed=seed, track=track)}
    found = {}
    for name, components in blocks.of.items():
        weights = tuple(_weights(analysis, blocks, name))
        systems = _Systems(weights, consumers)
        norms = _norms(analysis, weights, components.shape)
        found[name] = np.stack(
            [
                np.argsort(-norms[block], kind="stable")
                if systems.none
                else eliminate(systems.of(block), len(channels), STEPS)[0][::-1]
                for block, channels in enumerate(components)
            ]
        )
    return found


class _Systems:
    """What the layers that read the channels of a group make of them, block by block."""

    def __init__(self, weights: Iterable[_Weight], consumers: Mapping[Axis, Consumer]) -> None:
        known = [(weight, consumers[weight.axis]) for weight in weights if weight.axis in consumers]
        self._read = [
            (weight, consumer.inputs, np.linalg.inv(consumer.damped), consumer.relative)
            for weight, consumer in known
            if consumer.scale > 0
        ]
        self.none = not self._read

    def of(self, block: int) -> list[System]:
        """Return the systems of one block, with nothing taken out yet."""
        found = []
        for weight, inputs_of, inverses, matrices in self._read:
            places = weight.places[block]
            for positions in places.T[:, :, None] if weight.width else [places]:
                groups = [int(positions[0, 0]) // weight.width] if weight.width else range(len(inverses))
                inputs = inputs_of(positions % weight.width if weight.width else positions)
                found += [_system(inverses[group], matrices[group], inputs) for group in groups]
        return found


def _system(inverse: FloatArray, weight: FloatArray, inputs: IntArray) -> System:
    """Return a system of some inputs alone: all others stay, and nothing is asked of them."""
    rows = inputs.ravel()
    return System(inverse[np.ix_(rows, rows)], weight[rows], np.arange(len(rows)).reshape(inputs.shape))


def _weights(analysis: Analysis, blocks: Blocks, name: str) -> Iterator[_Weight]:
    """Yield the weights that make and read the channels of a group."""
    own = [member.axis for member in analysis.by_name[name].members]
    for axis in own:
        if axis in blocks.columns:
            tie = blocks.columns[axis]
            width = int(tie.b_at.max()) + 1
            places = blocks.places(tie.a, name)
            if places.size:
                yield _Weight(axis, places, width, len(tie.a_at) // width)
        elif axis.ref.is_use:
            places = blocks.places(axis, name)
            if places.size:
                yield _Weight(axis, places)


def _norms(analysis: Analysis, weights: Iterable[_Weight], shape: tuple[int, ...]) -> FloatArray:
    """Return the logarithm of the product of the norms of all weights of each channel, [blocks, channels]."""
    worth = np.zeros(shape)
    for weight in weights:
        node, value = analysis.graph.nodes[weight.axis.ref.node], analysis.graph.facts.known[weight.axis.ref.name].first
        if node.weight_layout is None or node.weight_layout.weight != weight.axis.ref.slot:
            continue
        if weight.width:  # [groups, columns, rows of a group, ...]
            by_column = value.reshape(weight.groups, -1, *value.shape[1:]).swapaxes(1, 2)
            slices = by_column[weight.places // weight.width, weight.places % weight.width]
        else:
            slices = np.moveaxis(value, weight.axis.dim, 0)[weight.places]
        squares = np.square(slices.reshape(*shape, -1), dtype=np.float64).sum(axis=-1)
        worth += np.log(np.maximum(squares, np.finfo(np.float64).tiny))
    return worth
