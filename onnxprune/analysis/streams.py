"""Residual streams that only normalisations look at, and so may be turned: their axes are a matter of choice.

A layer normalisation takes the mean out of a stream, divides by its spread, and scales the channels. Where every reader
of a stream is a normalisation, and every reader of these is a layer with a stored weight, the stream can be multiplied
by an orthogonal matrix: what makes it is multiplied by that, what reads it by its transpose, and the spread is the same
(Ashkboos et al. 2024, SliceGPT). The scales of a normalisation go into the weights that read it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.blocks import stands_alone
from onnxprune.analysis.norms import Norm, find_norms
from onnxprune.graph.model import Graph, Node
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.groups import ChannelGroup

_PASSED_ON = frozenset(
    (
        "Concat",
        "Dropout",
        "Expand",
        "Flatten",
        "Gather",
        "GlobalAveragePool",
        "Identity",
        "ReduceMean",
        "ReduceSum",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
"""Ops that treat every channel alike, by a linear map of what is in it."""

_LEAST_SCALE = 1e-3
"""A normalisation with a scale below this, as a share of the largest, cannot do without it."""

_COPIED = 4
"""A constant with no more values than so many for each channel is copied where it is read elsewhere too."""

_WHOLE = -1
"""In the place of a normalisation's number: the stream itself."""


@dataclass(frozen=True, eq=False)
class Stream:
    """A stream that may be turned.

    Attributes:
        group: the name of the channel group.
        size: how many channels it has.
        centred: whether its normalisations take out the mean.
        makes: axes of the weights and constants that are added to it.
        gains: of these, the ones that are scaled by channel before they are added -> the scales.
        norms: the normalisations, by number.
        reads: axes of the weights that read it, with the number of the normalisation that they read it through.
    """

    group: str
    size: int
    centred: bool
    makes: tuple[Axis, ...]
    gains: Mapping[Axis, Axis]
    norms: Mapping[int, Norm]
    reads: tuple[tuple[Axis, int], ...]


def find_streams(analysis: Analysis) -> tuple[Stream, ...]:
    """Return the streams that may be turned, of the groups that may lose channels."""
    norms = find_norms(analysis.graph)
    found = (_read(analysis, group, norms.values()) for group in analysis.prunable if group.approximate)
    return tuple(stream for stream in found if stream is not None)


def _read(analysis: Analysis, group: ChannelGroup, norms: Iterable[Norm]) -> Stream | None:
    every = np.arange(group.size)
    for member in group.members:
        whole = analysis.labelled.sizes[member.axis] == group.size
        if not whole or member.positions.shape != (group.size, 1) or (member.positions[:, 0] != every).any():
            return None
    axes = {member.axis.ref: member.axis for member in group.members}
    activations = [member.axis.ref for member in group.members if not member.axis.ref.is_use]
    if len(activations) > len({*activations}):
        return None
    reader = _Reader(analysis.graph, axes, group, {number: norm for norm in norms for number in norm.nodes})
    try:
        return reader.stream()
    except _OtherwiseReadError:
        return None


class _OtherwiseReadError(Exception):
    """Something else is done with a stream."""


@dataclass
class _Reader:
    """Walks the nodes that touch a group in their order.

    `known_norms` are the normalisations of the graph, by each of their nodes.
    `seen` has for every tensor the normalisation that it has gone through, or `_WHOLE`; `own` what makes a tensor that
    is read once and has nothing else in it. `lifted` says that something is added that is the same for all channels.
    """

    graph: Graph
    axes: Mapping[Ref, Axis]
    group: ChannelGroup
    known_norms: Mapping[int, Norm]
    seen: dict[str, int] = field(default_factory=dict)
    makes: list[Axis] = field(default_factory=list)
    reads: list[tuple[Axis, int]] = field(default_factory=list)
    norms: dict[int, Norm] = field(default_factory=dict)
    scales: set[Axis] = field(default_factory=set)
    own: dict[str, list[Axis]] = field(default_factory=dict)
    gains: dict[Axis, Axis] = field(default_factory=dict)
    lifted: bool = False

    def stream(self) -> Stream:
        """Return the stream.

        Raises:
            _OtherwiseReadError: it cannot be turned.
        """
        for node in self.graph.nodes:
            if not self.graph.is_folded(node) and (self._inputs(node) or self._outputs(node) or self._uses(node)):
                self._visit(node)
        handled = {*self.makes, *(axis for axis, _ in self.reads), *self.scales, *self.gains.values()}
        uses = [member.axis for member in self.group.members if member.axis.ref.is_use]
        centring = {norm.centred for norm in self.norms.values()}
        self._require({*uses} == handled and len(centring) == 1 and all(self._can_change(axis) for axis in uses))
        self._require(centring == {True} or not self.lifted)  # a turned stream is lifted along other channels
        return Stream(
            self.group.name,
            self.group.size,
            centring == {True},
            tuple(dict.fromkeys(self.makes)),
            self.gains,
            self.norms,
            tuple(dict.fromkeys(self.reads)),
        )

    def _visit(self, node: Node) -> None:
        norm = self.known_norms.get(node.index)
        if norm is not None:
            if norm.number == node.index:
                self._normalise(norm)
        elif node.weight_layout is not None and not node.domain:
            self._multiply(node)
        elif node.op in ("Add", "Sub"):
            self._require(self._states(node) <= {_WHOLE})
            self._hand_on(node, _WHOLE)
            self._add(
                node, self._uses(node).values(), even=[name for name in node.inputs if not self._knows(node, name)]
            )
        elif node.op == "Mul" and not node.domain:
            self._scale(node)
        elif node.op in _PASSED_ON and not node.domain:
            states, uses = self._states(node), self._uses(node)
            self._require(len(states | ({_WHOLE} if uses else set())) == 1)
            self._hand_on(node, states.pop() if states else _WHOLE)
            self._add(node, uses.values())
        else:
            self._require(held=False)

    def _normalise(self, norm: Norm) -> None:
        factors = [ref for ref in (norm.scale, norm.shift) if ref is not None]
        self._require(self.seen.get(norm.source) == _WHOLE and all(ref in self.axes for ref in factors))
        values = [self.graph.facts.known[ref.name].first for ref in factors]
        self._require(all(value.shape == (self.group.size,) for value in values))
        if norm.scale is not None:
            scale = np.abs(values[0])
            self._require(bool(scale.min() > _LEAST_SCALE * scale.max()))
        self.norms[norm.number] = norm
        self.scales.update(self.axes[ref] for ref in factors)
        self.seen[norm.output] = norm.number

    def _multiply(self, node: Node) -> None:
        layout = node.weight_layout
        assert layout is not None
        uses, weight = self._uses(node), Ref(node.inputs[layout.weight], node.index, layout.weight)
        rank = self.graph.facts.known[weight.name].first.ndim if weight.name in self.graph.facts.known else 0
        read = self._inputs(node)
        self._require(
            layout.groups == 1
            and not layout.quantized
            and rank > 0
            and read in ([], [node.inputs[layout.data]])
            and {*uses} <= {layout.weight, layout.bias}
        )
        axes = {axis.dim: axis for axis in self.axes_of(weight)}
        inputs, outputs = (axes.get(place % rank) for place in (layout.inputs, layout.outputs))
        self._require(bool(read) == (inputs is not None) and bool(self._outputs(node)) == (outputs is not None))
        if inputs is not None:
            (norm,) = self._states(node)
            self._require(norm != _WHOLE)
            self.reads.append((inputs, norm))
        if outputs is not None:
            self._hand_on(node, _WHOLE)
            bias = [] if layout.bias is None else [name for name in node.inputs[layout.bias : layout.bias + 1] if name]
            even = [name for name in bias if layout.bias not in uses]
            self._add(node, [outputs, *(uses[slot] for slot in (layout.bias,) if slot in uses)], alone=True, even=even)

    def _add(self, node: Node, axes: Iterable[Axis], *, alone: bool = False, even: Sequence[str] = ()) -> None:
        """Take in what is added at a node, and whether that is all that there is in its result.

        What is `even` is added to all channels alike, and no scales can be left to it.
        """
        made, read = list(axes), self._inputs(node)
        self.makes.extend(made)
        if even:
            self.lifted = True
            return
        known = [] if alone else [self.own.get(name) for name in read]
        if all(entry is not None for entry in known):
            whole = [axis for entry in known if entry is not None for axis in entry] + made
            self.own.update(
                dict.fromkeys((name for name in self._outputs(node) if self.graph.is_read_once(name)), whole)
            )

    def _scale(self, node: Node) -> None:
        """Take in scales by channel of a branch, which can be left to what makes it."""
        read, uses = self._inputs(node), list(self._uses(node).values())
        self._require(len(read) == len(uses) == 1 and read[0] in self.own and self._states(node) == {_WHOLE})
        value = self.graph.facts.known[uses[0].ref.name].first
        self._require(value.size == self.group.size)
        self.gains.update(dict.fromkeys(self.own[read[0]], uses[0]))
        self._hand_on(node, _WHOLE)

    def axes_of(self, ref: Ref) -> Iterator[Axis]:
        """Yield the axes of the group on one use of a constant."""
        return (member.axis for member in self.group.members if member.axis.ref == ref)

    def _hand_on(self, node: Node, state: int) -> None:
        outputs = self._outputs(node)
        self._require(bool(outputs) and outputs == [name for name in node.outputs if name])
        self.seen.update(dict.fromkeys(outputs, state))

    def _states(self, node: Node) -> set[int]:
        """Return what the tensors of the group that a node reads have gone through."""
        self._require(all(name in self.seen for name in self._inputs(node)))
        return {self.seen[name] for name in self._inputs(node)}

    def _knows(self, node: Node, name: str) -> bool:
        """Whether what a node reads has the channels."""
        return not name or Ref(name) in self.axes or any(axis.ref.name == name for axis in self._uses(node).values())

    def _inputs(self, node: Node) -> list[str]:
        return [name for name in node.inputs if name and Ref(name) in self.axes]

    def _outputs(self, node: Node) -> list[str]:
        return [name for name in node.outputs if name and Ref(name) in self.axes]

    def _uses(self, node: Node) -> dict[int, Axis]:
        """Return the constants of the group that a node reads, by input; a weight with two axes in it comes once."""
        places = ((slot, Ref(name, node.index, slot)) for slot, name in enumerate(node.inputs))
        return {slot: self.axes[ref] for slot, ref in places if ref in self.axes}

    def _can_change(self, axis: Axis) -> bool:
        """Whether a constant can be given another value, as a copy if others read it and it is small."""
        known = self.graph.facts.known[axis.ref.name]
        small = known.first.size <= _COPIED * self.group.size
        return (
            known.is_constant
            and known.first.dtype in (np.float32, np.float64)
            and (small or stands_alone(self.graph, axis.ref.name))
        )

    @staticmethod
    def _require(held: bool) -> None:  # noqa: FBT001 (reads as an assertion)
        if not held:
            raise _OtherwiseReadError
