"""A report section of another package: the group that lost the largest share of its channels."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block, Lines
from onnxprune.report.section import Detail, Section
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block | None]:
    """Return one line, where anything is cut."""
    groups = result.plan.groups
    if groups:
        name = min(groups, key=lambda name: groups[name].kept / groups[name].size)
        yield Lines((f"{name} lost most: {groups[name].kept} of {groups[name].size} channels are left",), "Lost most")


SECTION = Section("narrowest", 75, blocks)
