"""What `inspect` says of a model: its groups, what is frozen and why, and what each group weighs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.explain import Explanation, TieStep
from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines, Table, filled
from onnxprune.values.amount import percent
from onnxprune.values.branches import Branch
from onnxprune.values.groups import ChannelGroup

State = Literal["prunable", "frozen", "approximate"]

NAMES = 2
"""Coupled layers that are named unless all are asked for."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """A model read for people: the analysis, its totals, the file it came from, and what else should be known."""

    model: Path
    analysis: Analysis
    params: int
    size: int
    notes: tuple[str, ...] = ()

    def macs_share(self, group: ChannelGroup) -> float:
        """Return the share of the MACs that would go if the whole group went."""
        costs = self.analysis.costs
        whole = costs.macs_at({})
        return 1 - costs.macs_at({group.name: 0}) / whole if whole else 0.0

    def branch_share(self, branch: Branch) -> float:
        """Return the share of the MACs that would go if a branch were left out."""
        costs = self.analysis.costs
        whole = costs.macs_at({})
        return 1 - costs.macs_at(dict.fromkeys(branch.groups, 0)) / whole if whole else 0.0

    def to_json(self) -> dict[str, Any]:
        """The inspection as JSON types."""
        return {
            "model": str(self.model),
            "params": self.params,
            "macs": self.analysis.macs(),
            "size": self.size,
            "prunable_channels": _prunable_channels(self.analysis),
            "unread": list(self.analysis.unread),
            "notes": list(self.notes),
            "groups": [
                {
                    "name": group.name,
                    "size": group.size,
                    "layers": list(group.layers),
                    "members": [{"axis": str(member.axis), "role": member.role} for member in group.members],
                    "macs_share": self.macs_share(group),
                    "state": state(group),
                    "reason": reason(group),
                }
                for group in self.analysis.groups
            ],
            "branches": [
                {
                    "name": branch.name,
                    "joins": [self.analysis.graph.nodes[node].title for node, _ in branch.joins],
                    "nodes": len(branch.nodes),
                    "layers": [self.analysis.graph.nodes[node].outputs[0] for node in branch.layers],
                    "groups": list(branch.groups),
                    "macs_share": self.branch_share(branch),
                }
                for branch in self.analysis.branches
            ],
        }


def state(group: ChannelGroup) -> State:
    """Return what can be done with a group."""
    if group.prunable:
        return "prunable"
    return "approximate" if group.approximate else "frozen"


def reason(group: ChannelGroup) -> str | None:
    """Return why a group is not prunable, or None; an approximate one is so although it is prunable."""
    if group.prunable:
        return "a normalisation runs over it, so the result is not that of zeroing" if group.approximate else None
    return group.frozen or group.tied


def inspection_blocks(inspection: Inspection, *, verbose: bool = False) -> tuple[Block, ...]:
    """Return the groups, the reasons and the totals; with `verbose` every coupled layer and every axis reached."""
    groups = inspection.analysis.groups
    stuck = [group for group in groups if not group.prunable]
    return filled(
        _totals(inspection),
        Table(
            "Channel groups",
            ("group", "channels", "layers", "axes", "MACs", "state", "coupled with"),
            tuple(_row(inspection, group, verbose=verbose) for group in groups),
            frozenset({1, 2, 3, 4}),
        ),
        Table(
            "Branches that can be left out (--branches)",
            ("branch", "enters", "layers", "MACs"),
            tuple(_branch_row(inspection, branch) for branch in inspection.analysis.branches),
            frozenset({2, 3}),
        ),
        Lines(
            tuple(_stuck(group) for group in stuck),
            "Why groups are not prunable",
        ),
        *(_members(group) for group in groups if verbose),
        Lines(tuple(_states(inspection.analysis)), "States that lose channels at both ends (--keep leaves one whole)"),
        Lines(inspection.analysis.unread, "Layers in no group"),
        Lines(inspection.notes, "Notes"),
    )


def _states(analysis: Analysis) -> Iterator[str]:
    """Say which inputs and outputs lose channels where that is allowed."""
    graph = analysis.graph
    for group in analysis.prunable if analysis.interface else ():
        names = dict.fromkeys(member.axis.ref.name for member in group.members if not member.axis.ref.is_use)
        ends = [[repr(name) for name in names if name in outside] for outside in (graph.inputs, graph.outputs)]
        if ends[0]:
            inputs, outputs = (", ".join(each) for each in ends)
            yield f"{group.name} ({numbers.many(group.size, 'channel')}): in {inputs}, out {outputs}"


def _stuck(group: ChannelGroup) -> str:
    way = f"; --allow {group.opened_by} opens it" if group.opened_by else ""
    return f"{group.name} ({numbers.many(group.size, 'channel')}): {reason(group)}{way}"


def _prunable_channels(analysis: Analysis) -> int:
    return sum(group.size for group in analysis.prunable)


def _totals(inspection: Inspection) -> Table:
    analysis = inspection.analysis
    rows = (
        ("params", numbers.count(inspection.params)),
        ("MACs", numbers.count(analysis.macs())),
        ("file size", numbers.size(inspection.size)),
        ("prunable channels", numbers.count(_prunable_channels(analysis))),
        ("groups", f"{len(analysis.prunable)} of {len(analysis.groups)} prunable"),
    )
    return Table(str(inspection.model), ("", ""), rows, frozenset({1}))


def _row(inspection: Inspection, group: ChannelGroup, *, verbose: bool) -> tuple[str, ...]:
    others = group.layers[1:]
    shown = others if verbose else others[:NAMES]
    more = f" and {len(others) - len(shown)} more" if len(others) > len(shown) else ""
    return (
        group.name,
        str(group.size),
        str(len(group.layers)),
        str(len(group.members)),
        percent(inspection.macs_share(group)),
        state(group),
        ", ".join(shown) + more,
    )


def _branch_row(inspection: Inspection, branch: Branch) -> tuple[str, ...]:
    nodes = [inspection.analysis.graph.nodes[node] for node, _ in branch.joins]
    more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
    share = percent(inspection.branch_share(branch))
    return (branch.name, nodes[0].title + more, str(len(branch.layers)), share)


def _members(group: ChannelGroup) -> Table:
    rows = tuple((str(member.axis), member.role, _each(member.positions.shape[1])) for member in group.members)
    return Table(f"Axes of {group.name}", ("axis", "role", "of each channel"), rows, frozenset({2}))


def _each(positions: int) -> str:
    return numbers.many(positions, "position")


def explanation_blocks(explanation: Explanation) -> tuple[Block, ...]:
    """Return the chains of ties that froze or coupled an axis, step by step."""
    if explanation.size is None:
        return (Lines((f"{explanation.axis}: {explanation.reason}.",)),)
    width = numbers.many(explanation.size, "channel")
    if explanation.reason is not None:
        head = f"{explanation.axis} ({width}, {explanation.frozen} of them frozen) is frozen: {explanation.reason}."
        return filled(Lines((head,)), _chain("How it gets there", explanation.chain))
    head = f"{explanation.axis} ({width}) is free to be pruned."
    coupled = (_chain(f"Goes together with {layer}", steps) for layer, steps in explanation.coupled)
    return filled(Lines((head,)), *coupled)


def _chain(title: str, steps: tuple[TieStep, ...]) -> Lines:
    return Lines(tuple(f"{step.source} -> {step.node} -> {step.target}" for step in steps), title)


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON types."""
    return {
        "axis": explanation.axis,
        "size": explanation.size,
        "frozen": explanation.frozen,
        "reason": explanation.reason,
        "chain": [vars(step) for step in explanation.chain],
        "coupled": [{"layer": layer, "chain": [vars(step) for step in chain]} for layer, chain in explanation.coupled],
    }
