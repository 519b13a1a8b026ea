"""What a report is made of, whoever shows it: tables of text and lines of text."""

import re
from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "warning"]


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading.

    Attributes:
        title: what the rows are, or empty.
        columns: the headings.
        rows: as many cells as there are columns.
        numeric: numbers of the columns that hold figures, which line up on the right.
        bars: one share (0 to 1) a row, drawn beside it where the medium can; or empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    bars: tuple[float, ...] = ()


@dataclass(frozen=True)
class Lines:
    """Sentences, one a line, under an optional heading."""

    lines: tuple[str, ...]
    title: str = ""
    tone: Tone = "plain"


Block = Table | Lines


def plain(text: str) -> str:
    """Return `text` on one line and without control characters, which a name in a model's file may hold."""
    flat = re.sub(r"[ \t\r\n]+", " ", text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)


def filled(*blocks: Block | None) -> tuple[Block, ...]:
    """Drop what is missing or has no content."""
    return tuple(block for block in blocks if block is not None and _has_content(block))


def _has_content(block: Block) -> bool:
    return bool(block.rows if isinstance(block, Table) else block.lines)
