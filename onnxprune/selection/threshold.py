"""Remove every channel that scores below a threshold, with the threshold given or searched for a budget."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from onnxprune.selection.limits import Limits
from onnxprune.selection.masks import ranking
from onnxprune.selection.widths import Width
from onnxprune.values.axes import FloatArray
from onnxprune.values.statistics import Scores


def by_threshold(
    widths: Sequence[Width],
    scores: Scores,
    threshold: float,
    cap: float = 1.0,
    present: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Keep the channels that score at least `threshold`, then round to the nearest block.

    Where that removes more than the share `cap` of all channels, only that many go, block by block, lowest first.
    What earlier steps left is `present`: the best so many channels of each group are all that there is.
    """
    whole = {width.name: width.size for width in widths} if present is None else present
    counts = {width.name: width.nearest(_above(scores.values[width.name], threshold)) for width in widths}
    counts = {name: min(count, whole[name]) for name, count in counts.items()}
    channels = sum(whole[width.name] for width in widths)
    most = math.floor(cap * channels + 1e-9)
    return counts if channels - sum(counts.values()) <= most else _take_lowest(widths, scores, counts, most, whole)


def _take_lowest(
    widths: Sequence[Width], scores: Scores, least: Mapping[str, int], most: int, whole: Mapping[str, int]
) -> dict[str, int]:
    """Remove at most `most` channels, always the block with the lowest mean, from `whole` down to `least`."""
    counts = {width.name: whole[width.name] for width in widths}
    order = {width.name: ranking(scores, width.name) for width in widths}
    shrinking = {width.name: width for width in widths if least[width.name] < counts[width.name]}

    def price(width: Width) -> tuple[float, float, str]:
        block = order[width.name][smaller(width) : counts[width.name]]
        ties = scores.ties.get(width.name)
        tie = 0.0 if ties is None else float(ties[block].mean())
        return float(scores.values[width.name][block].mean()), tie, width.name

    def smaller(width: Width) -> int:
        return max(least[width.name], width.down_one(counts[width.name]))

    while shrinking:
        lowest = min(shrinking.values(), key=price)
        taken = counts[lowest.name] - smaller(lowest)
        if taken > most:
            del shrinking[lowest.name]
            continue
        counts[lowest.name] -= taken
        most -= taken
        if counts[lowest.name] == least[lowest.name]:
            del shrinking[lowest.name]
    return counts


def by_budget(
    widths: Sequence[Width], scores: Scores, limits: Limits, caps: Mapping[str, int] | None = None
) -> tuple[dict[str, int], float]:
    """Find the lowest threshold at which the limits hold; return the counts and the threshold.

    Widths are rounded down, then blocks are given back, the best-scoring first, while the limits hold. No group keeps
    more than its entry in `caps`, which is what other budgets left of it.

    Raises:
        UnreachableError: even the floors of all groups cost more; the message has the closest figure.
    """
    values = np.unique(np.concatenate([scores.values[width.name] for width in widths])) if widths else np.zeros(0)
    thresholds = np.concatenate([[-np.inf], values, [np.inf]])
    most = {width.name: width.size for width in widths} if caps is None else caps

    def counts_at(threshold: float) -> dict[str, int]:
        counts = {width.name: width.down(_above(scores.values[width.name], threshold)) for width in widths}
        return {name: min(count, most[name]) for name, count in counts.items()}

    limits.refuse_impossible(counts_at(float("inf")))
    low, high = 0, len(thresholds) - 1  # `high` always meets the budget
    while low < high:
        middle = (low + high) // 2
        if limits.hold(counts_at(float(thresholds[middle]))):
            high = middle
        else:
            low = middle + 1
    counts = counts_at(float(thresholds[high]))
    return _give_back(widths, scores, limits, counts, most), float(thresholds[high])


def _above(values: FloatArray, threshold: float) -> int:
    return int(np.count_nonzero(values >= threshold))


def _give_back(
    widths: Sequence[Width], scores: Scores, limits: Limits, counts: Mapping[str, int], most: Mapping[str, int]
) -> dict[str, int]:
    """Widen groups block by block, always the one whose next block scores best on average, while the limits hold."""
    current = dict(counts)
    ranked = {width.name: scores.values[width.name][ranking(scores, width.name)] for width in widths}
    open_widths = {width.name: width for width in widths if current[width.name] < most[width.name]}
    while open_widths:
        best = max(open_widths.values(), key=lambda width: (_next_block(width, current, ranked), width.name))
        wider = {**current, best.name: min(best.up_one(current[best.name]), most[best.name])}
        if limits.hold(wider):
            current = wider
        else:
            del open_widths[best.name]
            continue
        if current[best.name] >= most[best.name]:
            del open_widths[best.name]
    return current


def _next_block(width: Width, counts: Mapping[str, int], ranked: Mapping[str, FloatArray]) -> float:
    start = counts[width.name]
    return float(ranked[width.name][start : width.up_one(start)].mean())
