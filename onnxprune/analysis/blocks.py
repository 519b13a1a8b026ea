"""Which channels of a grouped convolution may trade places: those of one of its groups.

The groups of a convolution have to stay equally wide, so one channel goes from each of them, and all of these are one
channel of the analysis. Which ones go together is free: where nothing but the convolution ties them, the channels of
each group can be put into any order, with all that reads and makes them, and the network computes what it did.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.groups import Components, axis_signatures, connect, random_words
from onnxprune.analysis.labels import AppliedTie
from onnxprune.graph.model import Graph
from onnxprune.values.axes import Axis, IntArray, frozen_array
from onnxprune.values.groups import ChannelGroup


@dataclass(frozen=True, eq=False)
class Blocks:
    """What may trade places.

    Attributes:
        components: the channels when the groups of convolutions tie nothing: each is one place of what reads and makes
            it.
        of: channel group -> [blocks, channels], the component of every channel in every block, which is what of a
            channel lies in the same groups of the same convolutions.
        columns: the axes of weights that have the channels of one group -> the tie to the axis that has them all.
        tables: node and input of the constants that hold places of channels: these point at the same places after all.
    """

    components: Components
    of: Mapping[str, IntArray]
    columns: Mapping[Axis, AppliedTie]
    tables: frozenset[tuple[int, int]] = frozenset()

    def places(self, axis: Axis, group: str) -> IntArray:
        """Return where the channels of a group lie on an axis, [blocks, channels, places of a channel].

        No places are returned where not all blocks have as many there, such as the operands of a Concat.
        """
        labels, components = self.components.labels(axis), self.of[group]
        ordered = np.argsort(labels, kind="stable")
        first, end = (np.searchsorted(labels[ordered], components, side=side) for side in ("left", "right"))
        many = np.unique(end - first)
        return np.asarray(ordered[first[..., None] + np.arange(int(many[0]) if len(many) == 1 else 0)])


def find_blocks(analysis: Analysis) -> Blocks:
    """Return the channels that may trade places, of the groups of channels where that is so.

    Groups are left out whose channels are tied across the groups of a convolution by anything else (a normalisation
    over groups, a reshape), or lie on a weight that is shared or computed, approximate ones, and those of states: their
    callers know the order.
    """
    labelled = analysis.labelled
    ties = [tie for tie in labelled.applied_ties if tie.columns and tie.b_at.size]
    columns = {tie.b: tie for tie in ties if tie.b.ref.is_use}
    if not ties:
        return Blocks(analysis.components, {}, {})
    others = tuple(tie for tie in labelled.applied_ties if not tie.columns)
    loose = connect(replace(labelled, applied_ties=others))
    tied_otherwise = {end for tie in others for end in (tie.a, tie.b)}
    signatures = _signatures(loose, ties)
    tables = {(node, fact.slot) for fact, node in labelled.renumbers}
    found = {}
    outside = {*analysis.graph.inputs, *analysis.graph.outputs}
    for group in analysis.prunable:
        if group.name not in analysis.labellings[0].groups:  # columns are those of the first labelling
            continue
        if group.approximate:  # what frees it may go by the places of channels, as a window over them does
            continue
        if any(member.axis.ref.name in outside for member in group.members):
            continue
        own = [member.axis for member in group.members if (member.axis.ref.node, member.axis.ref.slot) not in tables]
        fit = all(axis in columns and axis not in tied_otherwise for axis in own if axis in _column_ends(ties))
        if fit and all(_can_change(analysis.graph, axis) for axis in own if axis.ref.is_use):
            blocks = _blocks(group, loose, signatures, columns)
            if blocks is not None:
                found[group.name] = blocks
    return Blocks(loose, found, columns, frozenset(tables))


def _column_ends(ties: list[AppliedTie]) -> set[Axis]:
    return {tie.b for tie in ties if tie.b != tie.a}


def _can_change(graph: Graph, axis: Axis) -> bool:
    """Whether a constant stands in the file and is read at this place alone, or is the same all along the axis."""
    value = graph.facts.known[axis.ref.name].first
    if value.dtype in (np.int64, np.int32):  # numbers that mean something else than weights
        return False
    return stands_alone(graph, axis.ref.name) or bool((value == np.take(value, [0], axis=axis.dim)).all())


def stands_alone(graph: Graph, name: str) -> bool:
    """Whether a constant stands in the file, and is read at one place alone."""
    stands = name in graph.initializers or graph.producers[name].op == "Constant"
    return stands and name not in graph.outputs and graph.is_read_once(name)


def _signatures(loose: Components, ties: list[AppliedTie]) -> IntArray:
    """Hash the axes that each component lies on, and in which groups of which convolutions."""
    rng = np.random.default_rng(0)
    signatures = axis_signatures(loose, rng)
    for tie in ties:
        number = tie.a_at // (int(tie.b_at.max()) + 1)
        np.add.at(signatures, loose.labels(tie.a), random_words(rng, int(number.max()) + 1)[number])
    return signatures


def _blocks(
    group: ChannelGroup, loose: Components, signatures: IntArray, columns: Mapping[Axis, AppliedTie]
) -> IntArray | None:
    """Return the components of a group's channels, [blocks, channels]; None where they are not alike, or are one."""
    members = [member for member in group.members if member.axis not in columns]
    labels = np.concatenate([loose.labels(member.axis)[member.positions] for member in members], axis=1)
    rows = []
    for channel in labels:
        components = np.unique(channel)
        rows.append(components[np.argsort(signatures[components], kind="stable")])
    if len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
        return None
    found = np.stack(rows, axis=1)
    kinds = signatures[found]
    if (kinds != kinds[:, :1]).any() or len(np.unique(kinds[:, 0])) < len(kinds):
        return None
    return frozen_array(found[np.argsort(found[:, 0])])


def sources(blocks: Blocks, orders: Mapping[str, IntArray]) -> Iterator[tuple[Axis, IntArray]]:
    """Yield the axes on which channels change places, and the place that each takes its values from, [positions].

    Args:
        blocks: see `find_blocks`.
        orders: channel group -> [blocks, channels], the channel of the block that comes to each place.
    """
    takes = np.arange(blocks.components.count)
    for name, order in orders.items():
        components = blocks.of[name]
        takes[components] = np.take_along_axis(components, order, axis=1)
    for axis in blocks.components.axes:
        if (axis.ref.node, axis.ref.slot) in blocks.tables:
            continue
        labels = blocks.components.labels(axis)
        taken = takes[labels]
        if (taken != labels).any():
            places = np.argsort(labels, kind="stable")
            within = np.arange(len(labels)) - np.searchsorted(labels[places], labels[places])
            source = np.empty(len(labels), dtype=np.int64)
            source[places] = places[np.searchsorted(labels[places], taken[places]) + within]
            yield axis, frozen_array(source)
