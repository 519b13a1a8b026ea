"""Blocks as Markdown, for the summary of a CI job or a comment."""

import re
from collections.abc import Iterable, Iterator

from onnxprune.report.blocks import Block, Table, plain

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$&@]|(?<=:)/(?=/)|(?<=www)\.)", re.IGNORECASE)
"""What has a meaning of its own, the middle of what would be an address included."""


def markdown(title: str, blocks: Iterable[Block]) -> str:
    """Return the text. All of it is escaped: names from a model's file cannot become markup or mention anyone."""
    parts = [f"## {_escaped(title)}"]
    for block in blocks:
        if block.title:
            parts.append(f"### {_escaped(block.title)}")
        parts.append("\n".join(_table(block) if isinstance(block, Table) else _lines(block.lines, block.tone)))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> Iterator[str]:
    yield _row(table.columns)
    yield _row(["---:" if number in table.numeric else "---" for number in range(len(table.columns))], escape=False)
    for row in table.rows:
        yield _row(row)


def _row(cells: Iterable[str], *, escape: bool = True) -> str:
    return "| " + " | ".join(_escaped(cell) if escape else cell for cell in cells) + " |"


def _lines(lines: Iterable[str], tone: str) -> Iterator[str]:
    """Yield sentences, each a paragraph; warnings are set off as quotations."""
    for number, line in enumerate(lines):
        if number:
            yield ">" if tone == "warning" else ""
        yield f"> **{_escaped(line)}**" if tone == "warning" else _escaped(line)


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\1", plain(text))
