"""What was written; a page does not name the files beside it, as they may be moved."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block, Lines
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block | None]:
    """Return the files, in a terminal."""
    places = {**result.written, **detail.beside}
    yield None if detail.page else Lines(tuple(f"{what} written to {path}" for what, path in places.items()))


register(Section("written", 130, blocks))
