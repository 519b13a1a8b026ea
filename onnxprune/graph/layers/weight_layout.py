"""How layers lay out their weights: which input is the weight and which the bias, and on which axes channels lie.

This is the one place where that is written down for ops that multiply by a weight; whoever has to know it asks here.
What an op ties, cuts and costs is said by its rule in `ops/`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxprune.graph.layers.quantized import layout

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class WeightLayout:
    """The operands of a layer, as input slots, and the axes of its channels.

    Attributes:
        inputs: the axis of the weight on which the input channels lie.
        outputs: the axis of the weight on which the output channels lie.
        data_axis: the axis of the data on which the input channels lie.
        output_axis: the axis of the output on which the output channels lie.
        bias: the slot of the bias, None where the op takes none.
        data: the slot of the data.
        weight: the slot of the weight.
        groups: into how many groups the channels fall. The first axis of a convolution's weight has the channels of all
            groups, the second those of one.
        convolves: whether the axes of the weight from the third on are the taps of a kernel.
        quantized: whether the op works on integers.
    """

    inputs: int
    outputs: int
    data_axis: int
    output_axis: int
    bias: int | None = 2
    data: int = 0
    weight: int = 1
    groups: int = 1
    convolves: bool = False
    quantized: bool = False

    @property
    def transposed(self) -> bool:
        """Whether this is a transposed convolution: its weight has the input channels first."""
        return self.convolves and self.inputs == 0

    def kernel(self, weight: Sequence[int]) -> tuple[int, ...]:
        """Return the taps of the kernel by spatial axis of a weight of this shape; () where there is no kernel."""
        return tuple(weight[2:]) if self.convolves else ()

    def fits(self, weight: Sequence[int]) -> bool:
        """Whether a weight may have this shape."""
        if self.convolves:
            return len(weight) > 2
        return len(weight) == 2 if self.inputs >= 0 else len(weight) > 0

    def data_rank(self, weight: Sequence[int]) -> int | None:
        """Return the rank of the data for a weight of this shape, None where it may have any."""
        return len(weight) if self.data_axis >= 0 else None

    def input_channels(self, weight: Sequence[int], groups: int | None = None) -> int:
        """Return how many channels a weight of this shape reads, in all groups (None: as many as there are)."""
        if len(weight) == 1:
            return weight[0]
        return weight[self.inputs] * self._unseen_groups(self.inputs, groups)

    def output_channels(self, weight: Sequence[int], groups: int | None = None) -> int:
        """Return how many channels a weight of this shape makes, in all groups (None: as many as there are)."""
        return weight[self.outputs] * self._unseen_groups(self.outputs, groups)

    def bias_of(self, inputs: Sequence[str]) -> str | None:
        """Return the bias among the inputs of a node, None where it has none."""
        return inputs[self.bias] or None if self.bias is not None and len(inputs) > self.bias else None

    def _unseen_groups(self, axis: int, groups: int | None) -> int:
        """Return by how much an axis of the weight has to be multiplied to count the channels of all groups."""
        return (self.groups if groups is None else groups) if self.convolves and axis == 1 else 1


def _gemm(attributes: Attributes) -> WeightLayout:
    inputs, outputs = (1, 0) if attributes.get("transB", 0) else (0, 1)
    return WeightLayout(inputs, outputs, data_axis=0 if attributes.get("transA", 0) else 1, output_axis=-1)


_FLOAT_OPS: Mapping[str, Callable[[Attributes], WeightLayout]] = {
    "Conv": lambda attributes: WeightLayout(1, 0, 1, 1, groups=int(attributes.get("group", 1)), convolves=True),
    "ConvTranspose": lambda attributes: WeightLayout(
        0, 1, 1, 1, groups=int(attributes.get("group", 1)), convolves=True
    ),
    "Gemm": _gemm,
    "MatMul": lambda _: WeightLayout(-2, -1, -1, -1, bias=None),
}

WEIGHTED = frozenset(_FLOAT_OPS)
"""The ops on floats that multiply by a weight."""

CONVOLUTIONS = frozenset(op for op, make in _FLOAT_OPS.items() if make({}).convolves)
"""Those of them that slide a kernel over their data."""


def weight_layout(
    op: str, attributes: Attributes, *, domain: str = "", inputs: Sequence[str] = ()
) -> WeightLayout | None:
    """Return the layout of an op, also of a quantized one with these inputs; None where it multiplies by no weight."""
    if not domain and op in _FLOAT_OPS:
        return _FLOAT_OPS[op](attributes)
    found = layout(domain, op, inputs)
    if found is None or found.float_op not in _FLOAT_OPS or len(found.data) < 2:
        return None
    data, weight, *others = (operand.slot for operand in found.data)
    plain = _FLOAT_OPS[found.float_op](attributes)
    return replace(plain, data=data, weight=weight, bias=others[0] if others else None, quantized=True)
