"""Widths that are not to be chosen, as a group's layers were timed to be slower at them than at a wider one."""

from collections.abc import Sequence

from onnxprune.analysis.analysis import Analysis
from onnxprune.latency.block import SLOWER
from onnxprune.latency.table import LatencyTable
from onnxprune.selection.goal import Goal
from onnxprune.values.costs import CostTable


def excluded_widths(table: LatencyTable, analysis: Analysis, goal: Goal) -> dict[str, frozenset[int]]:
    """Return by group those of the widths it may take that are slower than a wider one."""
    found = {}
    for group in analysis.prunable:
        width = goal.width(group)
        widths = [width.floor]
        while widths[-1] < group.size:
            widths.append(width.up_one(widths[-1]))
        found[group.name] = slower_widths(table, analysis.costs, group.name, widths)
    return found


def slower_widths(table: LatencyTable, costs: CostTable, name: str, widths: Sequence[int]) -> frozenset[int]:
    """Return those of a group's widths, rising, at which its layers are slower than at a wider one.

    All other groups are whole; `SLOWER` tells slower from noise.
    """
    column = costs.groups.index(name)
    mine = [
        layer
        for layer in table.layers
        if any(axis is not None and costs.multiplicity[axis, column] for axis in layer.axes)
    ]
    taken = [
        sum(layer.at(costs.widths_at({name: width}), table.block, measured=True) for layer in mine) for width in widths
    ]
    found, best = set(), float("inf")
    for width, time in zip(reversed(widths), reversed(taken), strict=True):
        if time > SLOWER * best:
            found.add(width)
        best = min(best, time)
    return frozenset(found)
