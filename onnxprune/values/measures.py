"""What can be asked of a pruned model in one number, by name: for conditions that a CI job fails by."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from onnxprune.errors import did_you_mean
from onnxprune.values.outcome import Figures, Quality, Speedup

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


def measures(
    before: Figures,
    after: Figures,
    quality: Quality | None,
    speedup: Speedup | None = None,
    single_speedup: Speedup | None = None,
) -> dict[str, float]:
    """Return what was measured, by the names of `MEASURES`."""
    found: dict[str, float | None] = {
        "macs_ratio": after.macs / before.macs if before.macs else None,
        "params_ratio": after.params / before.params if before.params else None,
        "size_ratio": after.size / before.size if before.size else None,
        "latency_ratio": _ratio(speedup),
        "single_latency_ratio": _ratio(single_speedup),
    }
    if quality is not None:
        found |= _of_quality(quality)
    return {name: value for name, value in found.items() if value is not None and not math.isnan(value)}


def _ratio(speedup: Speedup | None) -> float | None:
    """Return the share of a latency that is left; None: not timed, or the machine was too busy to tell."""
    return None if speedup is None or not speedup.told else 1 / speedup.median


def _of_quality(quality: Quality) -> Iterable[tuple[str, float | None]]:
    before, after, change = quality.before, quality.after, quality.change
    bounds = {"top1_drop_upper": quality.bounds.get("max_drop"), "output_change_upper": quality.bounds.get("max_drift")}
    yield "top1_before", None if before is None else 100 * before.top1
    yield "top1_after", None if after is None else 100 * after.top1
    yield "top1_drop", None if change is None else 0.0 - 100 * change
    yield "class_drop", 100 * quality.classes[0].drop if quality.classes else None
    yield "output_change", quality.moved
    yield "output_change_upper", bounds["output_change_upper"]
    yield "top1_drop_upper", None if bounds["top1_drop_upper"] is None else 100 * bounds["top1_drop_upper"]
