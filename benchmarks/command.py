"""The command line that benchmarks of several nets share: what is there already stays, the rest is measured."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.rows import Row, Rows, fill, opened
from benchmarks.threads import limit_threads

Net = TypeVar("Net")


def names(text: str) -> list[str]:
    """Read names with commas between them."""
    return text.split(",")


def numbers(text: str) -> list[float]:
    """Read numbers with commas between them; none: ''."""
    return [float(part) for part in text.split(",") if part]


def counts(text: str) -> list[int]:
    """Read whole numbers with commas between them."""
    return [int(part) for part in text.split(",")]


def parser(doc: str | None, nets: Sequence[str], *, draws: int, threads: int = 2) -> argparse.ArgumentParser:
    """Return a parser of what all of them take, with these defaults; `doc` is that of the script."""
    found = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    found.add_argument("shared", type=Path)
    found.add_argument("--cache", type=Path, required=True)
    found.add_argument("--nets", type=names, default=list(nets))
    found.add_argument("--draws", type=int, default=draws)
    found.add_argument("--threads", type=int, default=threads)
    found.add_argument("--rows", type=Path)
    found.add_argument("--page", type=Path)
    return found


def run(
    options: argparse.Namespace,
    known: Rows,
    open_net: Callable[[str, Path, Path], Net | None],
    rows_of: Callable[[Net, argparse.Namespace, Rows], Iterator[Row]],
    page: Callable[[Sequence[Row]], str],
) -> None:
    """Measure what is not there yet, and write the page."""
    limit_threads(options.threads)
    options.cache.mkdir(parents=True, exist_ok=True)
    known.mend()
    for _, net in opened(options, open_net):
        fill(known, rows_of(net, options, known))
    if options.page is not None:
        options.page.write_text(page(known.read()), encoding="utf-8")
