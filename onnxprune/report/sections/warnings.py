"""The warnings."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block, Lines
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block]:
    """Return the warnings, worst first."""
    yield Lines(tuple(f"Warning: {warning}" for warning in result.warnings), tone="warning")


register(Section("warnings", 10, blocks))
