"""Ops that work on every element alone: activations, casts, Dropout, Clip. Every axis passes through."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through
from onnxprune.ops.facts import Fact, Free
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView

_FUNCTIONS = """
    Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid
    HardSwish IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh
    Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu
""".split()


@rule(*_FUNCTIONS, "Identity", "Cast", "CastLike", "Clip", "Dropout")
def unary(node: NodeView) -> Iterator[Fact]:
    """Tie every axis of the input to the same axis of every output; further inputs are scalars, or lend their type."""
    x = node.input(0)
    if node.op == "CastLike" and not node.input(1).is_constant:
        yield from (Free(node.input(1).axis(axis)) for axis in range(node.input(1).rank))
    for output in node.outputs:
        if output is not None:
            yield from pass_through(x, output)
