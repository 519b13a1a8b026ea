"""Every group's width before and after."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block, Table
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.amount import percent
from onnxprune.values.plan import Plan
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block | None]:
    """Return the widths, where all is shown."""
    yield width_table(result.plan) if detail.whole else None


def width_table(plan: Plan) -> Table:
    """Return the widths of a plan's groups."""
    rows = tuple(
        (name, str(group.size), str(group.kept), percent(group.kept / group.size), ", ".join(group.layers[1:]))
        for name, group in plan.groups.items()
    )
    bars = tuple(group.kept / group.size for group in plan.groups.values())
    columns = ("group", "before", "after", "left", "coupled layers")
    return Table("Widths", columns, rows, frozenset({1, 2, 3}), bars)


register(Section("widths", 80, blocks))
