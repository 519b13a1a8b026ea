"""Rows of a benchmark in a file of JSON lines, so that a run that was cut off goes on where it was.

The long ones go on from `benchmarks/rows`: a copy of a file there, given with --rows.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Row = dict[str, Any]
Net = TypeVar("Net")


@dataclass(frozen=True)
class Rows:
    """Rows in a file, told apart by their values of `names`."""

    path: Path
    names: tuple[str, ...]

    def key(self, row: Row) -> str:
        """Return what tells a row from others."""
        return json.dumps([row.get(name) for name in self.names])

    def read(self) -> list[Row]:
        """Return the rows, the first of each key; a line that was cut off is left out."""
        found: dict[str, Row] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            found.setdefault(self.key(row), row)
        return list(found.values())

    def done(self) -> set[str]:
        """Return the keys of the rows that are there."""
        return {self.key(row) for row in self.read()}

    def mend(self) -> None:
        """End a last line that was cut off while it was written, so that the next row has a line of its own."""
        if self.path.exists() and not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("ab") as file:
                file.write(b"\n")

    def append(self, row: Row) -> None:
        """Append a row in one write, so that several processes can do so."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, (json.dumps(row) + "\n").encode())
        finally:
            os.close(descriptor)


def opened(options: argparse.Namespace, open_net: Callable[[str, Path, Path], Net | None]) -> Iterator[tuple[str, Net]]:
    """Yield the nets of `options` by name, and say on stderr which of them are not there."""
    for name in options.nets:
        net = open_net(name, options.shared, options.cache)
        if net is None:
            print(f"{name} or its images are not in {options.shared} and {options.cache}", file=sys.stderr)
        else:
            yield name, net


def fill(known: Rows, rows: Iterable[Row]) -> None:
    """Append rows as soon as they are known, and print them."""
    for row in rows:
        known.append(row)
        print(row, flush=True)


def survey(known: Rows, cells: Iterable[Row], attempt: Callable[[Row], Row]) -> list[Row]:
    """Make the row of every cell that is not there yet, print those that have faults, and return all rows."""
    known.mend()
    done = known.done()
    for cell in cells:
        if known.key(cell) in done:
            continue
        row = attempt(cell)
        known.append(row)
        if row["faults"]:
            print(json.dumps(row), flush=True)
    return known.read()
