"""Ops that work on every element alone: activations, casts, Dropout, Clip. Every axis passes through."""

from collections.abc import Iterator

from onnxprune.ops.common import pass_through
from onnxprune.ops.facts import Fact
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView

_FUNCTIONS = """
    Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid
    HardSwish IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh
    Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu
""".split()


@rule(*_FUNCTIONS, "Identity", "Cast", "CastLike", "Clip", "Dropout")
def unary(node: NodeView) -> Iterator[Fact]:
    """Tie every axis of the input to the same axis of every output; further inputs are scalars."""
    x = node.input(0)
    for output in node.outputs:
        if output is not None:
            yield from pass_through(x, output)
