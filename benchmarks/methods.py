"""Every method x MACs budgets x recovery on trained nets: top-1 on test images that no score and no recovery saw.

    python -m benchmarks.methods SHARED [--nets NAMES] [--methods NAMES] [--macs 70%,50%,35%] [--draws 3]
        [--recover refit,none,fold,match] [--test-images N] [--jobs N] [--rows FILE.jsonl] [--page FOLDER]

SHARED holds models/cifar10_resnet20.onnx, models/cifar10_resnet56.onnx, data/cifar10_jpeg.zip and
data/fashion_mnist.npz; a net whose files are missing is left out. fashion_convnet is trained here the first time
(torch); digits_convnet is one of the sample models; imagenet_lite0, which has to be named, takes what
`benchmarks.recovery` does, with super-classes as labels, and --macs 70%,50%. A draw is 50 of the first 200 training
images of every class (20 of 30 for digits_convnet). Test are all test images. Widths are not rounded.

Every cell is a line of ROWS as soon as it is known; cells that are there already are not computed again, so that a run
can be resumed, and several processes can share one file. What is computed: all methods and budgets with refit, for
every draw; for the first draw without recovery and with fold as well, and for the methods of `MATCHED` with match at
50 % and less. Beside the methods stand `VARIANTS`, settings of theirs.

The page (methods.md and methods.svg; `pip install ".[benchmarks]"`) is written from all rows of the file at the end, or
alone with --page-only.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nets import Net, open_net
from benchmarks.rows import Row, Rows
from benchmarks.threads import limit_threads
from onnxprune import Budget, Model, apply, collect, inspect, load, open_data, plan, recover, score
from onnxprune.analysis.analysis import Analysis
from onnxprune.data import Dataset
from onnxprune.data.split import choose
from onnxprune.importance.method import METHODS
from onnxprune.runtime import open_session
from onnxprune.surgery.cut import Cut
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.statistics import Scores

NETS = ("digits_convnet", "fashion_convnet", "cifar10_resnet20", "cifar10_resnet56")
MACS = (0.7, 0.5, 0.35)
RECOVERIES = ("none", "fold", "refit", "match")
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any], bool]] = {
    "catro single": ("catro", {"impact": "single", "feature": "gap"}, True),
    "catro greedy": ("catro", {"widths": "greedy"}, True),
    "class-aware gradient": ("class-aware", {"score": "gradient"}, True),
    "entropy map": ("entropy", {"variant": "map"}, True),
    "l1 threshold": ("l1", {}, False),
}
"""Methods under other settings: method, options, and whether widths follow from losses."""

MATCHED = ("random", "entropy", "catro", "class-aware", "reconstruction", "fisher")
"""What match is measured for, where no more than half of the MACs are left."""

BATCH = 100


@dataclass(frozen=True)
class Unit:
    """What one collection of statistics serves: a method on one draw of images, with all budgets and recoveries."""

    net: str
    method: str
    draw: int
    macs: tuple[float, ...] = MACS
    recoveries: tuple[str, ...] = RECOVERIES

    def cells(self) -> Iterator[dict[str, Any]]:
        """What identifies each of its rows."""
        for budget in self.macs:
            for recovery in RECOVERIES if self.draw == 0 else ("refit",):
                if recovery not in self.recoveries:
                    continue
                if recovery != "match" or (self.method in MATCHED and budget <= max(0.5, min(self.macs))):
                    yield {
                        "net": self.net,
                        "method": self.method,
                        "draw": self.draw,
                        "macs": budget,
                        "recover": recovery,
                    }


def setting(name: str) -> tuple[str, Mapping[str, Any], bool]:
    """Return what stands behind a name in the table."""
    return VARIANTS.get(name, (name, {}, True))


def units(net: str, options: argparse.Namespace) -> list[Unit]:
    """Return what is to be computed of one net."""
    return [
        Unit(net, method, draw, options.macs, options.recover)
        for draw in range(options.draws)
        for method in options.methods
    ]


class Bench:
    """One net, opened once: its images, and the accuracy of its cuts."""

    def __init__(self, net: Net, test_images: int | None) -> None:
        self.net = net
        self.model: Model = load(net.model)
        self.analysis: Analysis = inspect(self.model)
        with np.load(net.test) as data:
            self.x, self.y, names = data["x"], data["y"], [str(name) for name in data["class_names"]]
            self.groups = data.get("group", self.y)
        if test_images is not None:
            some = np.random.default_rng(0).permutation(len(self.x))[:test_images]
            self.x, self.y, self.groups = self.x[some], self.y[some], self.groups[some]
        self.classes = len(names)

        self.pool = open_data(net.calibration, self.model.graph.input_specs, Preprocess())

    def data(self, draw: int) -> Dataset:
        """The calibration images of a draw."""
        count = self.net.each * self.classes
        return self.pool.subset(choose(self.pool.labels, len(self.pool), count, draw))

    def accuracy(self, model: Any, weights: Any) -> dict[str, Any]:
        """Return top-1 and top-1 by class or super-class, in percent."""
        session = open_session(model, weights)
        feed, output = session.inputs[0].name, session.outputs[0].name
        parts = [session.run({feed: self.x[at : at + BATCH]})[output] for at in range(0, len(self.x), BATCH)]
        right = np.concatenate(parts).argmax(axis=1) == self.y
        by_class = [100 * float(right[self.groups == one].mean()) for one in range(self.classes) if one in self.groups]
        return {"top1": 100 * float(right.mean()), "by_class": by_class}

    def rows(self, unit: Unit, known: Rows) -> Iterator[Row]:
        """Yield the rows of a unit that are not there yet."""
        done = known.done()
        todo = [cell for cell in unit.cells() if known.key(cell) not in done]
        if not todo:
            return
        data = self.data(unit.draw)
        start = time.perf_counter()
        scores = self.scores(unit, data)
        collected = time.perf_counter() - start
        cut: Cut | None = None
        planned = None
        for cell in todo:
            if cell["macs"] != planned or cut is None:
                method, options, _ = setting(unit.method)
                budget = Budget(macs=cell["macs"])
                chosen = plan(self.model, self.analysis, scores, budget, method, options, round_to=1)
                cut, chosen = apply(self.model, self.analysis, chosen)
                planned = cell["macs"]
            start = time.perf_counter()
            name = cell["recover"]
            result = cut if name == "none" else recover(self.model, cut, data, name, seed=unit.draw)
            taken = {"collect_seconds": round(collected, 2), "recover_seconds": round(time.perf_counter() - start, 2)}
            yield {**cell, **self.accuracy(result.model, result.weights), "reached": chosen.reached["macs"], **taken}

    def scores(self, unit: Unit, data: Dataset) -> Scores:
        """Gather the statistics and score."""
        method, options, widths = setting(unit.method)
        statistics = collect(self.analysis, data, method, options, seed=unit.draw, widths=widths)
        return score(self.analysis, statistics, method, options, seed=unit.draw)

    def original(self) -> dict[str, Any]:
        """The row of the net as it is."""
        found = self.accuracy(self.model.proto, self.model.weights)
        versions = {name: __import__(name).__version__ for name in ("onnxprune", "onnxruntime", "numpy")}
        return {"net": self.net.name, "method": "original", **found, "test_images": len(self.x), "versions": versions}


def known(options: argparse.Namespace) -> Rows:
    """Return the rows that there are so far."""
    return Rows(options.rows, ("net", "method", "draw", "macs", "recover"))


def work(net: Net, todo: list[Unit], options: argparse.Namespace) -> None:
    """Compute the rows of some units of one net; processes side by side do with one thread each."""
    if options.jobs > 1:
        limit_threads(1)
    bench = Bench(net, options.test_images)
    rows = known(options)
    if not any(row["net"] == net.name and row["method"] == "original" for row in rows.read()):
        rows.append(bench.original())
    for unit in todo:
        try:
            for row in bench.rows(unit, rows):
                rows.append(row)
                print(f"{unit.net} {unit.method} draw {unit.draw} {row['macs']:.0%} "
                      f"{row['recover']}: {row['top1']:.2f} ({row['recover_seconds']:.0f} s)",
                      file=sys.stderr, flush=True)  # fmt: skip
        except Exception as error:  # a method that fails is told and left out, the others go on
            print(f"{unit.net} {unit.method}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> None:
    """Compute all that is missing."""
    known(options).mend()
    shares: list[tuple[Net, list[Unit], argparse.Namespace]] = []
    for name in options.nets:
        net = open_net(name, options.shared, options.cache)
        if net is None:
            print(f"The files of {name} are not in {options.shared}; it is left out.", file=sys.stderr)
            continue
        todo = units(name, options)
        shares += [(net, todo[number :: options.jobs], options) for number in range(options.jobs)]
    if options.jobs == 1:
        for share in shares:
            work(*share)
        return
    limit_threads(1)
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        pool.starmap(work, shares, chunksize=1)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _shares(text: str) -> tuple[float, ...]:
    return tuple(float(part.rstrip("%")) / 100 for part in text.split(","))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--nets", type=_names, default=NETS)
    parser.add_argument("--methods", type=_names, default=tuple(sorted([*METHODS, *VARIANTS])))
    parser.add_argument("--macs", type=_shares, default=MACS)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--recover", type=_names, default=RECOVERIES)
    parser.add_argument("--test-images", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rows", type=Path, default=Path("methods.jsonl"))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "onnxprune-benchmarks")
    parser.add_argument("--page", type=Path, help="folder that methods.md and methods.svg go to")
    parser.add_argument("--page-only", action="store_true")
    options = parser.parse_args(arguments)
    if not options.page_only:
        run(options)
    if options.page:
        from benchmarks.methods_page import write_page  # the only part that needs a plotting library

        write_page(known(options).read(), options.page)


if __name__ == "__main__":
    main()
