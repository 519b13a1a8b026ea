"""Conversions between floats and integers: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.

Scales and zero points hold for the whole tensor, for each position of one axis, or for blocks of positions along it.
"""

from collections.abc import Iterator

from onnxprune.graph.layers.quantized import MICROSOFT
from onnxprune.ops.common import pass_through, span
from onnxprune.ops.facts import Fact, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand, RefusedError


@rule("QuantizeLinear", "DequantizeLinear")
@rule("QuantizeLinear", "DequantizeLinear", domain=MICROSOFT)
def quantize_linear(node: NodeView) -> Iterator[Fact]:
    """Every axis passes through; scale and zero point follow the axis that they vary along.

    Where they hold for blocks along an axis, the positions of a block live or die together.
    """
    x, y = node.input(0), node.output
    yield from pass_through(x, y)
    for parameter in (node.input(1), node.optional(2)):
        if parameter is None or parameter.rank == 0:
            continue
        axis = node.attr("axis", 1) % x.rank
        if block := node.attr("block_size", 0):
            yield from _blocks(parameter, y, axis, block)
        elif parameter.rank != 1 or parameter.shape[0] not in (1, y.shape[axis]):
            raise RefusedError(f"the shape of {parameter.ref.name!r} fits neither the tensor nor one of its axes")
        elif parameter.shape[0] == y.shape[axis]:
            yield Tie(parameter.axis(0), y.axis(axis))


def _blocks(parameter: Operand, y: Operand, axis: int, block: int) -> Iterator[Fact]:
    yield from pass_through(parameter, y, (other for other in range(y.rank) if other != axis))
    size = y.shape[axis]
    yield Tie(y.axis(axis), parameter.axis(axis), span(size), span(size) // block)


@rule("DynamicQuantizeLinear")
def dynamic_quantize_linear(node: NodeView) -> Iterator[Fact]:
    """Every axis passes through, and is masked: the scale follows from the range of all values and zero.

    A channel of zeros leaves that range alone, so removing a channel is the same as zeroing it in front of this op.
    Against the whole network the scale of the channels that stay can only get finer.
    """
    x, y = node.input(0), node.output
    yield from pass_through(x, y)
    yield from (Sums(x.axis(axis)) for axis in range(x.rank))
