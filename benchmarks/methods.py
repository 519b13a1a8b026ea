"""Every method x MACs budgets x recovery on trained nets: top-1 on test images that no score and no recovery saw.

    python -m benchmarks.methods SHARED [--nets NAMES] [--methods NAMES] [--macs 80%,65%,50%,35%]
        [--recover none,fold,refit] [--sizes 10,50,200] [--test-images N] [--jobs N] [--rows FILE.jsonl] [--page FOLDER]

SHARED holds models/cifar10_resnet20.onnx, models/cifar10_resnet56.onnx, data/cifar10_jpeg.zip and
data/fashion_mnist.npz; a net whose files are missing is left out. The third net, fashion_convnet, is trained here the
first time (torch).
Calibration sees the first 10, 50 or 200 training images of every class; test are all test images. Widths are not
rounded.

Every cell is a line of ROWS as soon as it is known; cells that are there already are not computed again, so that a run
can be resumed, and several processes can share one file. What is computed:

* all methods, budgets and recoveries at 50 images a class, `random` with three seeds; beside them catro with its own
  greedy widths, and l1 with one threshold for all layers (its widths without data);
* `FEW` of the methods at 50 % and `refit` with 10 and 200 images a class;
* a subtask of three classes: scores and recovery from these classes' images alone (`seen` is subtask).

The page (methods.md and methods.svg; `pip install ".[benchmarks]"`) is written from all rows of the file at the end, or
alone with --page-only.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nets import SIZES, Net, open_net
from benchmarks.rows import Row, Rows
from benchmarks.threads import limit_threads
from onnxprune import Budget, Model, apply, collect, inspect, load, open_data, plan, recover, score
from onnxprune.analysis.analysis import Analysis
from onnxprune.data import Dataset
from onnxprune.importance.method import METHODS
from onnxprune.runtime import open_session
from onnxprune.surgery.cut import Cut
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.statistics import Scores

NETS = ("cifar10_resnet20", "cifar10_resnet56", "fashion_convnet")
MACS = (0.8, 0.65, 0.5, 0.35)
RECOVERIES = ("none", "fold", "refit")
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any], bool]] = {
    "catro greedy": ("catro", {"widths": "greedy"}, True),
    "class-aware gradient": ("class-aware", {"score": "gradient"}, True),
    "l1 threshold": ("l1", {}, False),
}
"""Methods under other settings: method, options, and whether widths follow from losses."""
FEW = ("random", "l1", "catro", "class-aware", "reconstruction")
SIZE = 50
SEEDS = (0, 1, 2)
BATCH = 500


@dataclass(frozen=True)
class Unit:
    """What one collection of statistics serves: a method on some images, with all budgets and recoveries."""

    net: str
    method: str
    size: int = SIZE
    seed: int = 0
    seen: str = "all"
    macs: tuple[float, ...] = MACS
    recoveries: tuple[str, ...] = RECOVERIES

    def cells(self) -> Iterator[dict[str, Any]]:
        """What identifies each of its rows."""
        own = {name: value for name, value in asdict(self).items() if name not in ("macs", "recoveries")}
        for budget in self.macs:
            for recovery in self.recoveries:
                yield {**own, "macs": budget, "recover": recovery}


def setting(name: str) -> tuple[str, Mapping[str, Any], bool]:
    """Return what stands behind a name in the table."""
    return VARIANTS.get(name, (name, {}, True))


def units(net: str, options: argparse.Namespace) -> list[Unit]:
    """Return what is to be computed of one net."""
    found = []
    for method in options.methods:
        for seed in SEEDS if method == "random" else SEEDS[:1]:
            whole = Unit(net, method, SIZE, seed, macs=options.macs, recoveries=options.recover)
            half = replace(whole, macs=(0.5,), recoveries=("refit",))
            found += [whole] if SIZE in options.sizes else []
            if method in FEW:
                found += [replace(half, size=size) for size in options.sizes if size != SIZE]
                found += [replace(half, seen="subtask", recoveries=("none", "refit"))]
    return found


class Bench:
    """One net, opened once: its images, and the accuracy of its cuts."""

    def __init__(self, net: Net, test_images: int | None) -> None:
        self.net = net
        self.model: Model = load(net.model)
        self.analysis: Analysis = inspect(self.model)
        with np.load(net.test) as data:
            self.x, self.y, names = data["x"], data["y"], [str(name) for name in data["class_names"]]
        if test_images is not None:
            some = np.random.default_rng(0).permutation(len(self.x))[:test_images]
            self.x, self.y = self.x[some], self.y[some]
        self.classes = len(names)
        self.subtask = [names.index(name) for name in net.subtask]

    def data(self, size: int, seen: str) -> Dataset:
        """The calibration images of all classes, or of the subtask's."""
        only = self.net.subtask if seen == "subtask" else ()
        return open_data(self.net.calibration(size), self.model.graph.input_specs, Preprocess(), only=only)

    def accuracy(self, model: Any, weights: Any) -> dict[str, Any]:
        """Return top-1, top-1 by class, and top-1 on the subtask's images among its classes, in percent."""
        session = open_session(model, weights)
        feed, output = session.inputs[0].name, session.outputs[0].name
        parts = [session.run({feed: self.x[at : at + BATCH]})[output] for at in range(0, len(self.x), BATCH)]
        logits = np.concatenate(parts)
        right = logits.argmax(axis=1) == self.y
        mine = np.isin(self.y, self.subtask)
        inside = np.asarray(self.subtask)[logits[mine][:, self.subtask].argmax(axis=1)] == self.y[mine]
        by_class = [100 * float(right[self.y == label].mean()) for label in range(self.classes) if label in self.y]
        return {"top1": 100 * float(right.mean()), "by_class": by_class, "subtask_top1": 100 * float(inside.mean())}

    def rows(self, unit: Unit, known: Rows) -> Iterator[Row]:
        """Yield the rows of a unit that are not there yet."""
        done = known.done()
        todo = [cell for cell in unit.cells() if known.key(cell) not in done]
        if not todo:
            return
        data = self.data(unit.size, unit.seen)
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
            result = cut if name == "none" else recover(self.model, cut, data, name, seed=unit.seed)
            taken = {"collect_seconds": round(collected, 2), "recover_seconds": round(time.perf_counter() - start, 2)}
            yield {**cell, **self.accuracy(result.model, result.weights), "reached": chosen.reached["macs"], **taken}

    def scores(self, unit: Unit, data: Dataset) -> Scores:
        """Gather the statistics and score."""
        method, options, widths = setting(unit.method)
        statistics = collect(self.analysis, data, method, options, seed=unit.seed, widths=widths)
        return score(self.analysis, statistics, method, options, seed=unit.seed)

    def original(self) -> dict[str, Any]:
        """The row of the net as it is."""
        found = self.accuracy(self.model.proto, self.model.weights)
        versions = {name: __import__(name).__version__ for name in ("onnxprune", "onnxruntime", "numpy")}
        return {"net": self.net.name, "method": "original", **found, "test_images": len(self.x), "versions": versions}


def known(options: argparse.Namespace) -> Rows:
    """Return the rows that there are so far."""
    return Rows(options.rows, ("net", "method", "size", "seed", "seen", "macs", "recover"))


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
                print(f"{unit.net} {unit.method} {unit.size} seed {unit.seed} {unit.seen} "
                      f"{row['macs']:.0%} {row['recover']}: {row['top1']:.2f} ({row['recover_seconds']:.0f} s)",
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


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--nets", type=_names, default=NETS)
    parser.add_argument("--methods", type=_names, default=tuple(sorted([*METHODS, *VARIANTS])))
    parser.add_argument("--macs", type=_shares, default=MACS)
    parser.add_argument("--recover", type=_names, default=RECOVERIES)
    parser.add_argument("--sizes", type=_numbers, default=SIZES)
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
