"""Accuracy, or the change of the outputs, before and after."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block
from onnxprune.report.quality import change_lines, class_table, drift_table, step_lines
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block | None]:
    """Return the change in all, after each step of the recovery, by class and by output."""
    yield step_lines(result.quality)
    yield change_lines(result.quality)
    yield class_table(result.quality, detail.limit, lost_only=not detail.whole)
    yield drift_table(result.quality)


register(Section("quality", 50, blocks))
