"""Functions of two or more values, with numpy's broadcasting."""

from collections.abc import Callable, Mapping
from functools import reduce

import torch

from onnxprune.finetune.interpreter.ops.site import OPERATORS, Run, Site, operator

Two = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_PLAIN: Mapping[str, Two] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}
_OF_ANY_NUMBER: Mapping[str, Two] = {"Max": torch.maximum, "Min": torch.minimum, "Sum": torch.add}


def _always(function: Two) -> Callable[[Site], Run]:
    def build(site: Site) -> Run:
        if site.version < 7 and site.attr("broadcast", 0):
            raise site.refusal("it broadcasts by the rule of opset 6; bring the model to a newer opset")
        return function

    return build


def _folded(function: Two) -> Callable[[Site], Run]:
    return lambda _: lambda *values: reduce(function, values)


for _name, _function in _PLAIN.items():
    OPERATORS.register(_name)(_always(_function))
for _name, _function in _OF_ANY_NUMBER.items():
    OPERATORS.register(_name)(_folded(_function))


@operator("Mean")
def mean(site: Site) -> Run:
    """Of its inputs."""
    return lambda *values: reduce(torch.add, values) / len(values)


@operator("Div")
def div(site: Site) -> Run:
    """Whole numbers are cut off towards zero."""

    def run(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")

    return run


@operator("Mod")
def mod(site: Site) -> Run:
    """With the sign of the divisor, or like C's fmod."""
    return torch.fmod if site.attr("fmod", 0) else torch.remainder


@operator("Pow")
def power(site: Site) -> Run:
    """In the type of the base; a known single exponent is taken as a number, which has a cheaper gradient."""
    known = site.constant(1)
    if known is not None and known.size == 1:
        exponent = known.reshape(()).item()
        return lambda x, _: torch.pow(x, exponent).to(x.dtype)
    return lambda x, exponents: torch.pow(x, exponents).to(x.dtype)


@operator("Where")
def where(site: Site) -> Run:
    """The second input where the first is true, else the third."""
    return torch.where


@operator("BitShift")
def bit_shift(site: Site) -> Run:
    """To the left or to the right."""
    return torch.bitwise_left_shift if site.attr("direction") == "LEFT" else torch.bitwise_right_shift
