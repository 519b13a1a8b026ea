"""The classifier's outputs as channels: opened on request, so that a cut can leave some of the classes alone."""

import numpy as np

from onnxprune.analysis.groups import Components
from onnxprune.analysis.labels import FrozenAxis, Labelled
from onnxprune.graph.model import Graph
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.groups import ChannelGroup

NORMALISERS = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
"""What may stand between the last layer and the output: among fewer classes it says what it says of these alone."""


def class_axis(graph: Graph) -> Axis | None:
    """Return the axis of the classes: of the first float output of shape [N, C], where dimensions of 1 do not count.

    So evaluation finds it when the model runs. None where there is no such output, or where shapes that the graph
    leaves open could make it another one.
    """
    for spec in graph.output_specs:
        if not spec.dtype.startswith("float"):
            continue
        pair = graph.facts.shape_pair(spec.name)
        if pair is None:
            return None
        if len(pair[0]) < 2:
            continue
        if pair[0][1:] != pair[1][1:]:
            return None
        wide = [dim for dim, size in enumerate(pair[0]) if dim and size != 1]
        if len(wide) == 1:
            return Axis(Ref(spec.name), wide[0])
    return None


def binding_freezes(
    graph: Graph, components: Components, frozen_axes: tuple[FrozenAxis, ...], head: Axis | None
) -> tuple[FrozenAxis, ...]:
    """Leave out the freezes by which a softmax over the classes of the opened `head` would keep it shut."""
    if head is None or head not in components.index:
        return frozen_axes
    classes = components.labels(head)

    def is_lifted(frozen: FrozenAxis) -> bool:
        over = frozen.approximate and graph.nodes[frozen.node].op in NORMALISERS
        return over and bool(np.isin(components.labels(frozen.axis), classes).all())

    return tuple(frozen for frozen in frozen_axes if not is_lifted(frozen))


def head_group(groups: tuple[ChannelGroup, ...], head: Axis | None) -> ChannelGroup | None:
    """Return the group whose channels are the classes, one each; None where there is no one such group."""
    for group in groups:
        for member in group.members:
            if member.axis == head and member.positions.shape[1] == 1:
                return group
    return None


def head_obstacle(graph: Graph, labelled: Labelled, groups: tuple[ChannelGroup, ...], head: Axis | None) -> str | None:
    """Return why the classifier cannot be cut to some of its classes, or None."""
    if head is None:
        return "no output is known to be of shape [N, classes]"
    if head not in labelled.sizes:
        return f"no layer's channels reach its output {head.ref.name!r}"
    at_head = [group for group in groups if any(member.axis == head for member in group.members)]
    frozen = next((group.frozen for group in at_head if group.frozen), None)
    if frozen is not None:
        return frozen
    group = head_group(groups, head)
    if group is None or len(at_head) > 1 or group.size != labelled.sizes[head]:
        return f"the classes of its output {head.ref.name!r} are not the channels of one layer"
    axes = {member.axis for member in group.members}
    for fact, node in labelled.sums:
        if fact.axis in axes:
            return f"{graph.nodes[node].title} sums over the classes"
    return None
