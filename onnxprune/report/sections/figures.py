"""The two models side by side: parameters, MACs, file size, latency, channels and top-1."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block
from onnxprune.report.figures import figures_table
from onnxprune.report.section import Detail, Section, headline, register
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block]:
    """Return the figures of the original and of the pruned model; a page has its title already."""
    title = "" if detail.page else headline(result)
    columns = ("before", "after" if result.after is not None else "foreseen")
    timed = (result.speedup, result.single_speedup)
    after = result.after or result.foreseen
    yield figures_table(title, columns, result.before, after, timed, result.threads, result.quality)


register(Section("figures", 20, blocks))
