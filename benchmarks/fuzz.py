"""Draw random small networks and random cuts, and check that every cut equals its mask.

    python benchmarks/fuzz.py [--count 100000] [--seed 0] [--only NUMBER] [--rows FILE.jsonl] [--page FILE.md]

The networks are those of the property test (tests/random_nets.py). All groups of a net are cut at once and compared
with masks of the tests' own making (tests/own_mask.py), then one of them alone with the project's. Net number N of
seed S depends on S and N alone, so that `--seed S --only N` draws a failing one again; it prints the net as ONNX text.
Rows are kept by blocks of nets, and a run goes on where an earlier one stopped.

Printed at the end: the number of nets checked (the others have nothing to cut), the number with power (the masks change
an output by far more than the tolerance, so that a wrong cut would have been seen) and, by op, how many had it. Exit
code 1 on the first failure, or where nothing was checked.
"""

import argparse
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]

import onnx  # noqa: E402
from random_nets import check_net, draw_net  # noqa: E402

from benchmarks.rows import Row, Rows  # noqa: E402
from benchmarks.stamp import stamp  # noqa: E402
from benchmarks.tables import table  # noqa: E402

BLOCK = 500
STEP = 5.0
"""Seconds between two lines of progress."""


class FailedNetError(Exception):
    """A net failed, and was printed."""


def block(seed: int, number: int) -> Row:
    """Check one block of nets, and count what was seen."""
    drawn = checked = proven = 0
    ops: Counter[str] = Counter()
    told = time.monotonic()
    for place in range(number * BLOCK, (number + 1) * BLOCK):
        found, kinds = one(seed, place)
        drawn += 1
        checked += found is not None
        proven += bool(found)
        ops.update(kinds)
        if time.monotonic() - told >= STEP:
            told = time.monotonic()
            print(f"{place + 1}: {checked} of {drawn} checked, {proven} with power", file=sys.stderr)
    row = {"seed": seed, "block": number, "drawn": drawn, "checked": checked, "proven": proven}
    return {**row, "ops": dict(ops), "stamp": stamp()}


def one(seed: int, number: int, *, show: bool = False) -> tuple[bool | None, set[str]]:
    """Check one net; return whether that had power (None: nothing to cut), and its ops.

    Raises:
        FailedNetError: cut and mask differ, or anything else went wrong.
    """
    rng = Random(f"{seed}:{number}")
    model = None
    try:
        model = draw_net(rng)
        if show:
            print(onnx.printer.to_text(model))
        found = check_net(rng, model)
    except Exception as error:
        traceback.print_exc()
        if model is not None and not show:
            print(onnx.printer.to_text(model))
        print(f"\nnet {number} FAILED; again with: python benchmarks/fuzz.py --seed {seed} --only {number}")
        raise FailedNetError from error
    return None if found is None else found.proven, {node.op_type for node in model.graph.node}


def totals(rows: Sequence[Row]) -> tuple[int, int, int]:
    """Return how many nets were drawn, how many of these checked, and how many of these with power."""
    drawn, checked, proven = (sum(row[name] for row in rows) for name in ("drawn", "checked", "proven"))
    return drawn, checked, proven


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows."""
    drawn, checked, proven = totals(rows)
    ops: Counter[str] = Counter()
    for row in rows:
        ops.update(row["ops"])
    return "\n".join(
        [
            "# Random nets",
            "",
            "Written by `python benchmarks/fuzz.py`: random small networks, all groups cut at random and compared with",
            "masks of the tests' own making, then one of them alone with the project's own. Of those with power a",
            "wrong cut would have been seen: the masks change an output by far more than the tolerance.",
            f"{rows[-1]['stamp']}.",
            "",
            table(
                ("nets", "with something to cut", "of these with power", "where cut and mask differ"),
                [(f"{drawn:,}", f"{checked:,}", f"{proven:,}", "0")],
            ),
            "",
            "Nets by the ops that they have:",
            "",
            table(("op", "nets"), [(op, f"{count:,}") for op, count in sorted(ops.items())]),
        ]
    )


def main() -> int:
    """Check what is not there yet."""
    parser = argparse.ArgumentParser(description="Check that cut equals mask for random nets.")
    parser.add_argument("--count", type=int, default=100_000, help="how many nets to draw (100000)")
    parser.add_argument("--seed", type=int, default=0, help="of the whole series (0)")
    parser.add_argument("--only", type=int, help="draw this one net of the series and print it")
    parser.add_argument("--rows", type=Path, default=Path("fuzz.jsonl"))
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("error")
    known = Rows(options.rows, ("seed", "block"))
    known.mend()
    done = known.done()
    try:
        if options.only is not None:
            one(options.seed, options.only, show=True)
            return 0
        for number in range(-(-options.count // BLOCK)):
            if known.key({"seed": options.seed, "block": number}) not in done:
                known.append(block(options.seed, number))
    except FailedNetError:
        return 1
    rows = [row for row in known.read() if row["seed"] == options.seed]
    if options.page is not None:
        options.page.write_text(page(rows), encoding="utf-8")
    drawn, checked, proven = totals(rows)
    print(f"{drawn} nets drawn, {checked} checked, {proven} with power, no failure")
    return 0 if checked else 1


if __name__ == "__main__":
    sys.exit(main())
