"""What was tried before a plan was chosen."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block
from onnxprune.report.section import Detail, Section, register
from onnxprune.report.trials import search_lines, trials_table
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block | None]:
    """Return how many plans were tried, and, where all is shown, each of them."""
    yield search_lines(result.search)
    yield trials_table(result.search) if detail.whole else None


register(Section("trials", 40, blocks))
