"""What else the user should know."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block, Lines
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block]:
    """Return the notes."""
    if detail.page:
        yield Lines(result.notes, "Notes")
    else:
        yield Lines(tuple(f"Note: {note}" for note in result.notes))


register(Section("notes", 100, blocks))
