"""How quantized ops lay out their operands: which carry data, and which are scales and zero points of these.

Every op that works on integers stands for an op on floats: QLinearConv for a Conv of its data operands. What holds of
the shapes, channels and weights of the float op holds of it too. Here is all that tells the two apart.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MICROSOFT = "com.microsoft"

# The operands in order: `a` has the scale `sa` and the zero point `za`; `y` is the result. What is in brackets comes
# any number of times.
_UNARY = "x sx zx sy zy"
_BINARY = "a sa za b sb zb sy zy"
_TABLE: Mapping[tuple[str, str], tuple[str, str]] = {
    ("", "QuantizeLinear"): ("Identity", "x sy zy"),
    ("", "DequantizeLinear"): ("Identity", "x sx zx"),
    (MICROSOFT, "QuantizeLinear"): ("Identity", "x sy zy"),
    (MICROSOFT, "DequantizeLinear"): ("Identity", "x sx zx"),
    ("", "QLinearConv"): ("Conv", "x sx zx w sw zw sy zy b"),
    ("", "QLinearMatMul"): ("MatMul", _BINARY),
    ("", "ConvInteger"): ("Conv", "x w zx zw"),
    ("", "MatMulInteger"): ("MatMul", "a b za zb"),
    (MICROSOFT, "QGemm"): ("Gemm", "a sa za b sb zb c sy zy"),
    (MICROSOFT, "QLinearAdd"): ("Add", _BINARY),
    (MICROSOFT, "QLinearMul"): ("Mul", _BINARY),
    (MICROSOFT, "QLinearAveragePool"): ("AveragePool", _UNARY),
    (MICROSOFT, "QLinearConcat"): ("Concat", "sy zy [x sx zx]"),
    (MICROSOFT, "QLinearGlobalAveragePool"): ("GlobalAveragePool", _UNARY),
    (MICROSOFT, "QLinearLeakyRelu"): ("LeakyRelu", _UNARY),
    (MICROSOFT, "QLinearSigmoid"): ("Sigmoid", _UNARY),
    (MICROSOFT, "QLinearSoftmax"): ("Softmax", _UNARY),
    (MICROSOFT, "QLinearWhere"): ("Where", "c a sa za b sb zb sy zy"),
}
OPS = tuple(_TABLE)
"""All quantized ops as (domain, op)."""


@dataclass(frozen=True, slots=True)
class QuantizedOperand:
    """One tensor that a quantized op works on: input slots of it, its scale and its zero point (-1: not an input)."""

    name: str
    slot: int
    scale: int
    zero: int


@dataclass(frozen=True)
class Layout:
    """The float op that a quantized op stands for, that op's operands in order, and the result."""

    float_op: str
    data: tuple[QuantizedOperand, ...]
    result: QuantizedOperand

    @property
    def slots(self) -> frozenset[int]:
        """The slots of the data; all others are scales and zero points."""
        return frozenset(data.slot for data in self.data)


def layout(domain: str, op: str, inputs: Sequence[str]) -> Layout | None:
    """Return the layout of an op with these inputs, or None where it is not a quantized op."""
    entry = _TABLE.get(("" if domain == "ai.onnx" else domain, op))
    if entry is None:
        return None
    head, _, repeated = entry[1].partition("[")
    words = head.split()
    part = repeated.rstrip("]").split()
    while part and len(words) < len(inputs):
        words += [f"{word}{len(words) // len(part)}" for word in part]
    slots = {word: slot for slot, word in enumerate(words) if slot < len(inputs) and inputs[slot]}

    def data(name: str) -> QuantizedOperand:
        return QuantizedOperand(name, slots.get(name, -1), slots.get(f"s{name}", -1), slots.get(f"z{name}", -1))

    return Layout(entry[0], tuple(data(word) for word in slots if word[0] not in "sz"), data("y"))


_PACKED: Mapping[tuple[str, str], frozenset[int]] = {(MICROSOFT, "MatMulNBits"): frozenset((1,))}
"""Ops of floats with weights that hold several numbers in a byte: the inputs that are such weights."""


def numbers_each(domain: str, op: str, attrs: Mapping[str, Any]) -> int:
    """Return how many weights an element of a weight of an op holds."""
    return 8 // int(attrs.get("bits", 4)) if (domain, op) in _PACKED else 1


def weight_slots(domain: str, op: str, inputs: Sequence[str], is_float: Iterable[bool]) -> Iterator[int]:
    """Yield the inputs that count as weights where they are constants; `is_float` tells floats among the inputs.

    A weight is a float that the op works on, or an integer that a quantized op works on. Scales and zero points, which
    say what an integer stands for, are none, nor are the indices and sizes of other ops.
    """
    found = layout(domain, op, inputs)
    integers = found.slots if found is not None else _PACKED.get((domain, op))
    for slot, floating in enumerate(is_float):
        if floating if integers is None else slot in integers:
            yield slot
