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
    """Whether a tensor is an input or output of the graph, and neither the first nor both."""
    return (name in graph.inputs[1:]) != (name in graph.outputs[1:]) and name not in (
        *graph.inputs[:1],
        *graph.outputs[:1],
    )


def of_states(graph: Graph, components: Components, frozen_axes: tuple[FrozenAxis, ...]) -> BoolArray:
    """Return which components can be cut at both ends alike: everything outside that has them is an end of a state.

    There are as many inputs as outputs then that have the same channels at the same place of as many axes.
    """
    ends: dict[tuple[int, int, bytes], list[FrozenAxis]] = {}
    for frozen in frozen_axes:
        if frozen.outside:
            rank = len(graph.facts.shapes[0][frozen.axis.ref.name])
            ends.setdefault((rank, frozen.axis.dim, components.labels(frozen.axis).tobytes()), []).append(frozen)
    found, shut = np.zeros(components.count, dtype=bool), np.zeros(components.count, dtype=bool)
    for alike in ends.values():
        names = [frozen.axis.ref.name for frozen in alike]
        inputs = sum(name in graph.inputs for name in names)
        fixed = all(graph.facts.is_fixed(frozen.axis.ref.name, frozen.axis.dim) for frozen in alike)
        paired = 2 * inputs == len(names) and fixed and all(may_be_state(graph, name) for name in names)
        (found if paired else shut)[components.labels(alike[0].axis)] = True
    return found & ~shut


def lifted(components: Components, frozen: FrozenAxis, states: BoolArray) -> FrozenAxis | None:
    """Return what is left of a freeze where `states` may be cut at both ends; None: nothing."""
    if not frozen.outside:
        return frozen
    open_at = states[components.labels(frozen.axis)]
    if open_at.all():
        return None
    return replace(frozen, at=np.flatnonzero(~open_at)) if open_at.any() else frozen
