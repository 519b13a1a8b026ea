"""The vocabulary of op rules: frozen facts about one node."""

from dataclasses import dataclass

from onnxprune.values.axes import Axis, IntArray

Period = tuple[int, int]  # (stride, size): positions that differ in position // stride % size


@dataclass(frozen=True, slots=True, eq=False)
class Tie:
    """Positions `a_at[i]` of axis `a` and `b_at[i]` of axis `b` live or die together (None: all, in order).

    `exclusive` marks ties that come as alternatives, as where a reshape splits one axis in two and either factor could
    carry the channels: of the exclusive ties of a node that share an axis, only the first one reached applies.
    `periods` says by which part of their position the axes `a` and `b` vary under the tie.
    `columns` marks a tie that holds only because the groups of a convolution have to stay equally wide: `a` has the
    channels of all groups, `b` those of one, and another order of the channels within a group does as well.
    """

    a: Axis
    b: Axis
    a_at: IntArray | None = None
    b_at: IntArray | None = None
    exclusive: bool = False
    periods: tuple[Period, Period] | None = None
    columns: bool = False

    def other(self, axis: Axis) -> Axis:
        """Return the end that is not `axis`."""
        return self.b if axis == self.a else self.a

    def period(self, axis: Axis) -> Period | None:
        """Return the (stride, size) by which the positions of `axis` vary under this tie, where it is known."""
        return None if self.periods is None else self.periods[0 if axis == self.a else 1]


@dataclass(frozen=True, slots=True)
class Cycle:
    """The free size of `axis` is always a multiple of `size`: positions `p` and `p + size` are the same channel.

    So it is where channels are folded into the batch. Only ties with `periods` may name positions of such an axis.
    """

    axis: Axis
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Freeze:
    """Positions `at` of `axis` (None: all) cannot be cut.

    `approximate` says that they could, were an inexact result allowed; `under`, that this holds only where this
    alternative is taken.
    """

    axis: Axis
    reason: str
    approximate: bool = False
    at: IntArray | None = None
    under: Tie | None = None


@dataclass(frozen=True, slots=True)
class Free:
    """The node reads `axis` but neither ties nor sums it, whatever its width."""

    axis: Axis


@dataclass(frozen=True, slots=True)
class Sums:
    """The node adds up over `axis`, so a channel multiplied by zero just before it is a channel removed.

    Zeroing an activation is enough, so the axis of a constant counts only where the sum runs `inside` the node, out of
    reach from outside (the recurrence of an LSTM). `zero` is the input that says what counts as zero in a quantized
    tensor (None: the number 0).
    """

    axis: Axis
    inside: bool = False
    zero: int | None = None


@dataclass(frozen=True, slots=True)
class Produces:
    """The node makes new channels along `axis`: the places where pruning starts."""

    axis: Axis


@dataclass(frozen=True, slots=True, eq=False)
class Count:
    """A number that carries a size: element `element` of an operand or attribute is a count of kept positions.

    `slot` is an input's number or an attribute's name; `at` are the counted positions of `axis` (None: all); `under` is
    the alternative by which it counts (None: any). `node` is the number of the node that reads it, where it is another
    one than the rule speaks of.
    """

    slot: int | str
    element: int
    axis: Axis
    at: IntArray | None = None
    under: Tie | None = None
    node: int | None = None


@dataclass(frozen=True, slots=True)
class Renumber:
    """The numbers in operand `slot`, a constant, point at positions of `axis`: each becomes its rank among the kept.

    `node` is the number of the node that reads it, where it is another one than the rule speaks of.
    """

    slot: int
    axis: Axis
    node: int | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """An attribute that is not given stands for `value`, which depends on `axis`: where that is cut, it is written."""

    attribute: str
    value: float
    axis: Axis


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-adds of the node for one call: `factor` times the product of the kept widths of `axes`.

    Free sizes count as in the nominal shapes, so a free batch counts as 1.
    """

    factor: float
    axes: tuple[Axis, ...]


Fact = Tie | Cycle | Freeze | Free | Sums | Produces | Count | Renumber | Pin | Macs
