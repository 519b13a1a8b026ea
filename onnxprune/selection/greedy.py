"""Widths across layers by gain per cost: what a block of channels is worth against what it takes of the limits.

`curves` holds, by group, the value of keeping the d best channels for d = 0 .. size, rising with d. What a block costs
depends on the present widths of its neighbours (both sides of a channel count), so costs are worked out anew whenever a
neighbour changes. With several limits costs are shares of them: those that are missed while widths shrink, all while
they grow.
"""

from collections.abc import Mapping, Sequence

from onnxprune.selection.limits import Limits
from onnxprune.selection.widths import Width
from onnxprune.values.axes import FloatArray

Counts = Mapping[str, int]


def grow(
    widths: Sequence[Width], curves: Mapping[str, FloatArray], limits: Limits, caps: Counts | None = None
) -> dict[str, int]:
    """Start from the floors and add the block with the largest gain per cost while the limits hold.

    Raises:
        UnreachableError: even the floors of all groups cost more.
    """
    most = {width.name: width.size for width in widths} if caps is None else dict(caps)
    counts = {width.name: min(width.floor, most[width.name]) for width in widths}
    limits.refuse_impossible(counts)
    return extend(widths, curves, limits, counts, most)


def shrink(
    widths: Sequence[Width], curves: Mapping[str, FloatArray], limits: Limits, caps: Counts | None = None
) -> dict[str, int]:
    """Start from the full widths and take the block that loses least per cost until the limits hold.

    What the last block took too much is given back to the groups that gain most by it.

    Raises:
        UnreachableError: even the floors of all groups cost more.
    """
    most = {width.name: width.size for width in widths} if caps is None else dict(caps)
    limits.refuse_impossible({width.name: min(width.floor, most[width.name]) for width in widths})
    counts, spent = dict(most), limits.spent(most)
    missed = limits.used(most) > 1
    prices: dict[str, tuple[float, int]] = {}
    while missed.any():
        for width in widths:
            if width.name not in prices:
                smaller = width.down_one(counts[width.name])
                if smaller < counts[width.name]:
                    gone = spent - limits.spent({**counts, width.name: smaller})
                    saved = float((gone[missed] if limits.price is None else gone).sum())
                    curve = curves[width.name]
                    lost = float(curve[counts[width.name]] - curve[smaller])
                    prices[width.name] = (lost / saved if saved > 0 else float("inf"), smaller)
        name = min(prices, key=lambda key: (prices[key][0], key))
        counts[name] = prices[name][1]
        used, spent = limits.used(counts), limits.spent(counts)  # anew: a running difference gathers rounding errors
        stale = limits.neighbours(name) if (missed == (used > 1)).all() else tuple(prices)
        missed = used > 1
        for neighbour in stale:
            prices.pop(neighbour, None)
    return extend(widths, curves, limits, counts, most)


def extend(
    widths: Sequence[Width], curves: Mapping[str, FloatArray], limits: Limits, counts: Counts, most: Counts
) -> dict[str, int]:
    """Return the widths with more blocks, the largest gain per cost first, as long as any fits within `most`."""
    counts, spent = dict(counts), limits.spent(counts)
    prices: dict[str, tuple[float, int]] = {}
    closed: set[str] = set()
    while True:
        for width in widths:
            if width.name not in prices and width.name not in closed:
                larger = min(width.up_one(counts[width.name]), most[width.name])
                if larger > counts[width.name]:
                    added = float((limits.spent({**counts, width.name: larger}) - spent).sum())
                    curve = curves[width.name]
                    gain = float(curve[larger] - curve[counts[width.name]])
                    prices[width.name] = (gain / added if added > 0 else float("inf"), larger)
        if not prices:
            return counts
        name = max(prices, key=lambda key: (prices[key][0], key))
        wider = {**counts, name: prices[name][1]}
        if not limits.hold(wider):
            # Widths only grow from here on, and so does what this block would cost.
            closed.add(name)
            del prices[name]
            continue
        counts, spent = wider, limits.spent(wider)
        for neighbour in limits.neighbours(name):
            prices.pop(neighbour, None)
