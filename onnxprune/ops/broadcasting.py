"""Ops that combine tensors element by element with numpy-style broadcasting."""

from collections.abc import Iterator

from onnxprune.ops.common import broadcast
from onnxprune.ops.facts import Fact
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, RefusedError

_FUNCTIONS = """
    Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean
    Min Mod Mul Or Pow Sub Sum Where Xor
""".split()


@rule(*_FUNCTIONS, "PRelu")
def broadcasting(node: NodeView) -> Iterator[Fact]:
    """Tie the axes that broadcasting lines up; an axis of size 1 against a wider one is free."""
    if node.attr("axis") is not None or node.attr("broadcast") is not None:
        raise RefusedError("it broadcasts by the rules of opset 6; convert the model to opset 7 or newer")
    for operand in node.inputs:
        if operand is not None:
            yield from broadcast(operand, node.output)
