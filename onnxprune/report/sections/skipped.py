"""Sample files that could not be read; a terminal had them while the data was opened."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block, Lines
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block | None]:
    """Return the names of the files."""
    skipped = () if result.data is None else result.data.skipped
    yield Lines(skipped, "Sample files that could not be read") if detail.page else None


register(Section("skipped", 110, blocks))
