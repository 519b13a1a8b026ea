"""The verdict on a pruned model in one line: how sure, what is left, what it cost, what it gives."""

import math
from collections.abc import Iterator

from onnxprune.report import numbers
from onnxprune.report.requests import left_words
from onnxprune.values.amount import percent
from onnxprune.values.outcome import Quality
from onnxprune.values.promise import Promise
from onnxprune.values.results import Result

SAME = 0.02
"""Shares of a latency by which two do not differ."""


def verdict(result: Result) -> str:
    """Return the verdict, such as "held: 49.6 % of the MACs, top-1 87.6 -> 86.9 (-0.7, at most -1.0 at 95 %)"."""
    state = "planned" if result.after is None else "done" if result.promise is None else result.promise.state
    others = sum(not warning.startswith(f"{state}: ") for warning in result.warnings)
    warned = f", with {numbers.many(others, 'warning')}" if others else ""
    return f"{state}{warned}: {', '.join(_parts(result))}"


def _parts(result: Result) -> Iterator[str]:
    yield from _left(result)
    yield from _cost(result.quality, result.promise)
    yield from _speed(result)
    if result.promise is not None and result.promise.enough is not None:
        yield f"about {result.promise.enough:,} held-out images would show it"


def _left(result: Result) -> Iterator[str]:
    asked = {name: share for name, share in result.plan.request.items() if isinstance(share, float)}
    limited = [name for name in result.plan.reached if name in asked and name != "macs"]
    for name in ["macs", *limited]:
        if name in result.plan.reached:
            wanted = f" (asked {percent(asked[name])})" if name in asked else ""
            yield f"{left_words(name, result.plan.reached[name])}{wanted}"


def _cost(quality: Quality | None, promise: Promise | None) -> Iterator[str]:
    if quality is None:
        return
    bounds = {} if promise is None else promise.bounds
    sure = "" if promise is None else f" at {100 * promise.confidence:g} %"
    if quality.before is not None and quality.after is not None and quality.change is not None:
        known = math.isfinite(bounds.get("max_drop", math.inf))
        most = f", at most {numbers.signed(-bounds['max_drop'])}{sure}" if known else ""
        both = f"{100 * quality.before.top1:.1f} -> {100 * quality.after.top1:.1f}"
        yield f"top-1 {both} ({numbers.signed(quality.change)}{most})"
    if quality.moved is not None and ("max_drift" in bounds or quality.before is None):
        bound = bounds.get("max_drift")
        few = ", too few samples to say by how much at most"
        most = "" if bound is None else f" (at most {percent(bound)}{sure})" if math.isfinite(bound) else few
        yield f"outputs changed by {percent(quality.moved)}{most}"


def _speed(result: Result) -> Iterator[str]:
    found = result.speedup
    if found is None:
        return
    if not found.told:
        yield "the machine too busy to tell how fast"
    elif found.low <= 1 <= found.high or abs(found.median - 1) <= SAME:
        yield "as fast"
    else:
        yield f"{found.median:.1f} x faster" if found.median > 1 else f"{1 / found.median:.1f} x slower"
