"""Widths across layers by gain per cost: what a block of channels is worth against the multiply-adds that it takes.

`curves` holds, by group, the value of keeping the d best channels for d = 0 .. size, rising with d. What a block costs
depends on the present widths of its neighbours (both sides of a channel count), so costs are worked out anew whenever a
neighbour changes.
"""

from collections.abc import Mapping, Sequence

from onnxprune.errors import UnreachableError
from onnxprune.selection.widths import Width
from onnxprune.values.axes import FloatArray
from onnxprune.values.costs import CostTable


def grow(
    widths: Sequence[Width],
    curves: Mapping[str, FloatArray],
    costs: CostTable,
    budget: float,
    caps: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Start from the floors and add the block with the largest gain per multiply-add while the budget holds.

    Raises:
        UnreachableError: even the floors of all groups cost more.
    """
    most = {width.name: width.size for width in widths} if caps is None else dict(caps)
    counts = {width.name: min(width.floor, most[width.name]) for width in widths}
    refuse_impossible(costs, counts, budget)
    return _extend(widths, curves, costs, budget, counts, most)


def shrink(
    widths: Sequence[Width],
    curves: Mapping[str, FloatArray],
    costs: CostTable,
    budget: float,
    caps: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Start from the full widths and take the block that loses least per multiply-add until the budget holds.

    What the last block took too much is given back to the groups that gain most by it.

    Raises:
        UnreachableError: even the floors of all groups cost more.
    """
    most = {width.name: width.size for width in widths} if caps is None else dict(caps)
    by_name = {width.name: width for width in widths}
    refuse_impossible(costs, {name: min(width.floor, most[name]) for name, width in by_name.items()}, budget)
    counts, total = dict(most), costs.macs_at(most)
    prices: dict[str, tuple[float, int]] = {}
    while total > budget:
        for width in widths:
            if width.name not in prices:
                smaller = width.down_one(counts[width.name])
                if smaller < counts[width.name]:
                    saved = total - costs.macs_at({**counts, width.name: smaller})
                    curve = curves[width.name]
                    lost = float(curve[counts[width.name]] - curve[smaller])
                    prices[width.name] = (lost / saved if saved > 0 else float("inf"), smaller)
        name = min(prices, key=lambda key: (prices[key][0], key))
        counts[name] = prices[name][1]
        total = costs.macs_at(counts)  # anew: a running difference would gather rounding errors
        for neighbour in costs.neighbours(name):
            prices.pop(neighbour, None)
    return _extend(widths, curves, costs, budget, counts, most)


def _extend(
    widths: Sequence[Width],
    curves: Mapping[str, FloatArray],
    costs: CostTable,
    budget: float,
    counts: dict[str, int],
    most: Mapping[str, int],
) -> dict[str, int]:
    """Add blocks, the largest gain per multiply-add first, as long as any fits."""
    counts, total = dict(counts), costs.macs_at(counts)
    prices: dict[str, tuple[float, int]] = {}
    closed: set[str] = set()
    while True:
        for width in widths:
            if width.name not in prices and width.name not in closed:
                larger = min(width.up_one(counts[width.name]), most[width.name])
                if larger > counts[width.name]:
                    added = costs.macs_at({**counts, width.name: larger}) - total
                    curve = curves[width.name]
                    gain = float(curve[larger] - curve[counts[width.name]])
                    prices[width.name] = (gain / added if added > 0 else float("inf"), larger)
        if not prices:
            return counts
        name = max(prices, key=lambda key: (prices[key][0], key))
        wider = {**counts, name: prices[name][1]}
        if costs.macs_at(wider) > budget:
            # Widths only grow from here on, and so does what this block would cost.
            closed.add(name)
            del prices[name]
            continue
        counts, total = wider, costs.macs_at(wider)
        for neighbour in costs.neighbours(name):
            prices.pop(neighbour, None)


def refuse_impossible(costs: CostTable, floors: Mapping[str, int], budget: float) -> None:
    """Raise if the floors of all groups cost more than `budget`.

    Raises:
        UnreachableError: they do; the message has the closest figure.
    """
    least, whole = costs.macs_at(floors), costs.whole
    if least > budget:
        raise UnreachableError(
            f"The budget of {budget / whole:.1%} of the MACs cannot be met: with every group at its floor "
            f"{least / whole:.1%} are left; ask for at least that."
        )
