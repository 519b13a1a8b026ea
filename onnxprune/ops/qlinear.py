"""Ops that work on integers: each says of channels what the op on floats says that it stands for."""

import math
from collections.abc import Iterator
from dataclasses import replace

from onnxprune.graph.layers.quantized import MICROSOFT, OPS, QuantizedOperand
from onnxprune.ops.facts import Fact, Sums, Tie
from onnxprune.ops.rules import RULES, rule
from onnxprune.ops.view import NodeView, Operand, RefusedError

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")


def _of(domain: str) -> Iterator[str]:
    return (op for where, op in OPS if where == domain and op not in _CONVERSIONS)


@rule(*_of(""))
@rule(*_of(MICROSOFT), domain=MICROSOFT)
def qlinear(node: NodeView) -> Iterator[Fact]:
    """Take the facts of the float op; scales and zero points of weights follow the channels that they vary along.

    What is removed from a sum is set to its zero point. Scales of activations hold for the whole tensor.
    """
    layout = node.layout
    if layout is None or node.attr("channels_last", 0):
        raise RefusedError("its channels lie on the last axis, by an attribute that is not supported")
    floats = node.as_float(layout)
    zeros = {node.input(data.slot).ref: data.zero for data in layout.data if data.zero >= 0}
    for fact in RULES[layout.float_op](floats):
        yield replace(fact, zero=zeros.get(fact.axis.ref)) if isinstance(fact, Sums) else fact
    for data in layout.data:
        yield from _parameters(node, data, _channel_axis(floats, data.name))
    yield from _parameters(node, layout.result, None)


def _channel_axis(floats: NodeView, name: str) -> int | None:
    """Return the axis of a weight that makes the output channels: the one that its scales may vary along."""
    if floats.op == "Conv":
        return 0 if name == "w" else None
    if floats.op == "Gemm" and floats.attr("transB", 0):
        return 0 if name == "b" else None
    return -1 if floats.op in ("Gemm", "MatMul") and name == "b" else None


def _parameters(node: NodeView, data: QuantizedOperand, along: int | None) -> Iterator[Fact]:
    """Tie a scale and a zero point that vary along axis `along` of their data."""
    for slot in (data.scale, data.zero):
        parameter: Operand | None = node.optional(slot) if slot >= 0 else None
        if parameter is None or math.prod(parameter.shape) == 1:
            continue
        if along is None or parameter.rank != 1:
            raise RefusedError(f"{parameter.ref.name!r} varies within a tensor in a way that is not supported")
        yield Tie(parameter.axis(0), node.input(data.slot).axis(along))
