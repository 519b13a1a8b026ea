"""States: channels that a caller feeds back from an output into an input, and that can be cut at both ends alike.

A recurrent layer, a streaming convolution or an attention with cached keys hands its state out and takes it in again.
An axis of an input and an axis of an output are the two ends of a state where they are the same channels in the same
order, at the same place of their shapes. The first input and the first output are what the model is there for and are
never taken for one.
"""

from dataclasses import replace

import numpy as np

from onnxprune.analysis.groups import Components
from onnxprune.analysis.labels import FrozenAxis
from onnxprune.graph.model import Graph
from onnxprune.values.axes import BoolArray


def may_be_state(graph: Graph, name: str) -> bool:
    """Whether a tensor is an input or output of the graph, and not the first."""
    return name in graph.inputs[1:] or name in graph.outputs[1:]


def of_states(graph: Graph, components: Components, frozen_axes: tuple[FrozenAxis, ...]) -> BoolArray:
    """Return which components can be cut at both ends alike: everything outside that has them is an end of a state."""
    ends: dict[tuple[int, bytes], list[FrozenAxis]] = {}
    outside = [frozen for frozen in frozen_axes if frozen.outside]
    for frozen in outside:
        key = (frozen.axis.dim, components.labels(frozen.axis).tobytes())
        ends.setdefault(key, []).append(frozen)
    found, shut = np.zeros(components.count, dtype=bool), np.zeros(components.count, dtype=bool)
    for alike in ends.values():
        names = [frozen.axis.ref.name for frozen in alike if may_be_state(graph, frozen.axis.ref.name)]
        both = any(name in graph.inputs for name in names) and any(name in graph.outputs for name in names)
        labels = components.labels(alike[0].axis)
        (found if both and len(names) == len(alike) else shut)[labels] = True
    return found & ~shut


def lifted(components: Components, frozen: FrozenAxis, states: BoolArray) -> FrozenAxis | None:
    """Return what is left of a freeze where `states` may be cut at both ends; None: nothing."""
    if not frozen.outside:
        return frozen
    open_at = states[components.labels(frozen.axis)]
    if open_at.all():
        return None
    return replace(frozen, at=np.flatnonzero(~open_at)) if open_at.any() else frozen
