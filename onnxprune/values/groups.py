"""Channel groups: channels that can be removed one by one, each with everything that has to go along with it."""

from dataclasses import dataclass
from typing import Literal

from onnxprune.values.axes import Axis, IntArray
from onnxprune.values.brief import brief

Role = Literal["produces", "weight", "activation"]


@dataclass(frozen=True, eq=False)
class Member:
    """One axis that a group reaches. `positions` [channels, multiplicity]: what each channel takes of it."""

    axis: Axis
    positions: IntArray
    role: Role


IN_OUTPUT = "is part of the graph output"
"""What freezes channels that every user of the model sees; the reason names the output."""


@brief
@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels of one kind: they touch the same axes in the same way, so that they cost and count alike.

    Attributes:
        name: the first tensor that a layer of the group produces.
        size: how many channels there are.
        members: the axes that the channels reach, producers first.
        layers: names of the producing tensors, in graph order.
        frozen: why the group cannot be cut, or None.
        approximate: whether it could be cut if an inexact result were allowed.
        state: whether it could be cut if both ends of a state, an input and an output, were to change alike.
        tied: why its positions go together or not at all, where they are one channel.
        crossed: the axes on which its channels meet channels of another factor, which may be cut as well.
        uneven: those among them where any number of a channel's positions may stay; of the others, whole blocks.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    layers: tuple[str, ...]
    frozen: str | None = None
    approximate: bool = False
    state: bool = False
    tied: str | None = None
    crossed: frozenset[Axis] = frozenset()
    uneven: frozenset[Axis] = frozenset()

    @property
    def prunable(self) -> bool:
        """Whether channels of this group may be removed."""
        return self.frozen is None and self.size > 1

    @property
    def opened_by(self) -> str:
        """What `--allow` takes to open the group; empty where nothing does, or it is open."""
        if self.frozen is None or not (self.state or self.approximate):
            return ""
        return "interface" if self.state else "approximate"
