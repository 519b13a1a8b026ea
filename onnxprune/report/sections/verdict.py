"""The verdict, before anything else."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block, Lines
from onnxprune.report.section import Detail, Section, register
from onnxprune.report.verdict import verdict
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block]:
    """Return the verdict."""
    yield Lines((verdict(result),))


register(Section("verdict", 5, blocks))
