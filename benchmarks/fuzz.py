"""Draw random small networks and random cuts, and check that every cut equals its mask.

    python benchmarks/fuzz.py [--count 10000] [--seed 0] [--only NUMBER]

The networks are those of the property test (tests/random_nets.py). Net number N of seed S depends on S and N alone, so
that `--seed S --only N` draws a failing one again; it prints the net as ONNX text.

Printed at the end: the number of nets checked (the others have nothing to cut), the number with power (the masks change
an output by far more than the tolerance, so that a wrong cut would have been seen) and the nets per second. Exit code 1
on the first failure, or where nothing was checked.
"""

import argparse
import sys
import time
import traceback
import warnings
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]

import onnx  # noqa: E402
from random_nets import check_net, draw_net  # noqa: E402

STEP = 5.0
"""Seconds between two lines of progress."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that cut equals mask for random nets.")
    parser.add_argument("--count", type=int, default=10_000, help="how many nets to draw (10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the whole series (0)")
    parser.add_argument("--only", type=int, help="draw this one net of the series and print it")
    options = parser.parse_args()
    warnings.simplefilter("error")
    numbers = range(options.count) if options.only is None else range(options.only, options.only + 1)
    began = told = time.monotonic()
    drawn = checked = proven = 0
    for number in numbers:
        rng = Random(f"{options.seed}:{number}")
        model = None
        try:
            model = draw_net(rng)
            if options.only is not None:
                print(onnx.printer.to_text(model))
            found = check_net(rng, model)
        except Exception:
            traceback.print_exc()
            if model is not None and options.only is None:
                print(onnx.printer.to_text(model))
            print(f"\nnet {number} FAILED; again with: python benchmarks/fuzz.py --seed {options.seed} --only {number}")
            return 1
        drawn += 1
        checked += found is not None
        proven += found is not None and found.proven
        if time.monotonic() - told >= STEP:
            told = time.monotonic()
            print(f"{drawn} of {len(numbers)} drawn, {checked} checked, {proven} with power", file=sys.stderr)
    pace = drawn / (time.monotonic() - began)
    print(f"{drawn} nets drawn, {checked} checked, {proven} with power, no failure; {pace:.1f} nets per second")
    return 0 if checked else 1


if __name__ == "__main__":
    sys.exit(main())
