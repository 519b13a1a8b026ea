"""Blocks in a terminal, by rich. Text is shown as it is: no markup, no emoji, no colour guessed from content."""

from collections.abc import Iterable
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from onnxprune.report.blocks import Block, Lines, Table, plain

WIDE = 4000
"""Columns where nobody looks: a file or a pipe gets whole names, not wrapped ones."""


def open_console(stream: TextIO) -> Console:
    """Return a console that prints to `stream` and wraps only where a person reads."""
    width = None if stream.isatty() else WIDE
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)


def show(blocks: Iterable[Block], console: Console) -> None:
    """Print `blocks` with an empty line between them, save between sentences."""
    if console.is_terminal:
        _print(blocks, console)
        return
    with console.capture() as capture:
        _print(blocks, console)
    console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _print(blocks: Iterable[Block], console: Console) -> None:
    before: Block | None = None
    for block in blocks:
        if before is not None and not (_is_prose(before) and _is_prose(block)):
            console.print()
        before = block
        if block.title:
            console.print(Text(plain(block.title), style="bold"))
        if isinstance(block, Table):
            console.print(_table(block))
        else:
            _print_lines(block, console)


def _print_lines(block: Lines, console: Console) -> None:
    """Print the lines of a block."""
    indent = "  " if block.title else ""
    for line in block.lines:
        console.print(Text(indent + plain(line), style="bold yellow" if block.tone == "warning" else ""))


def _is_prose(block: Block) -> bool:
    return isinstance(block, Lines) and not block.title and block.tone == "plain"


def _table(table: Table) -> RichTable:
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(table.columns))
    for number, column in enumerate(table.columns):
        shown.add_column(Text(column), justify="right" if number in table.numeric else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(plain(cell)) for cell in row))
    return shown
