"""Conditions that a CI job fails by: a measure of a result beside a number."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from onnxprune.errors import did_you_mean

MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "macs_ratio": "multiply-adds, after as a share of before",
        "params_ratio": "parameters, after as a share of before",
        "size_ratio": "bytes of the file, after as a share of before",
        "latency_ratio": "latency of one sample, after as a share of before, timed in turn",
        "single_latency_ratio": "the same on one thread",
        "top1_before": "top-1 of the original, in percent",
        "top1_after": "top-1 of the other model, in percent",
        "top1_drop": "points of top-1 that were lost",
        "top1_drop_upper": "points of top-1 that were lost at most, at the confidence of the run",
        "class_drop": "points that the class lost which lost most",
        "output_change": "change of the output that changed most, as a share of it; of those that can be compared",
        "output_change_upper": "the most that this is, at the confidence of the run",
    }
)
"""What every measure is. Of what was not measured there is none."""

COMPARISONS = (">=", "<=", ">", "<")

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_CONDITION = re.compile(rf"\s*(\w+)\s*(>=|<=|>|<)\s*({_NUMBER})\s*", re.ASCII)


@dataclass(frozen=True)
class Condition:
    """A measure beside a number, such as `top1_drop_upper > 1.0`.

    Example:
        >>> Condition.read("latency_ratio > 0.7").holds({"latency_ratio": 0.8})
        True
    """

    name: str
    comparison: str
    number: float

    def __str__(self) -> str:
        return f"{self.name} {self.comparison} {self.number:g}"

    @classmethod
    def read(cls, text: str) -> "Condition":
        """Read a condition; nothing is evaluated.

        Raises:
            ValueError: it is none, or of a measure that there is not.
        """
        found = _CONDITION.fullmatch(text)
        if found is None or not math.isfinite(float(found[3])):
            raise ValueError(f"{text!r} is no condition; write a measure, {', '.join(COMPARISONS)}, and a number")
        name, comparison, number = found.groups()
        if name not in MEASURES:
            raise ValueError(f"{name!r} is not one of {', '.join(MEASURES)}{did_you_mean(name, MEASURES)}")
        return cls(name, comparison, float(number))

    def holds(self, measures: Mapping[str, float]) -> bool:
        """Whether it holds.

        Raises:
            KeyError: the measure is not known.
        """
        value = measures[self.name]
        return {
            ">=": value >= self.number,
            "<=": value <= self.number,
            ">": value > self.number,
            "<": value < self.number,
        }[self.comparison]
