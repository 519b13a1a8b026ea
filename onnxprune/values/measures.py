"""What can be asked of a result in one number, by the names that `conditions` has."""

import math
from collections.abc import Iterable

from onnxprune.values.outcome import Figures, Quality, Speedup


def measures(
    before: Figures,
    after: Figures,
    quality: Quality | None,
    speedup: Speedup | None = None,
    single_speedup: Speedup | None = None,
) -> dict[str, float]:
    """Return what was measured, by the names of `conditions.MEASURES`."""
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
