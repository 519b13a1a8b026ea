"""What each way of recovery gives back: top-1 on test images by net, budget and draw of calibration images.

    python -m benchmarks.recovery SHARED --cache FOLDER [--nets NAMES] [--budgets 0.7,0.5] [--latencies 0.6]
                                  [--ways refit,match] [--draws 3] [--rows FILE.jsonl] [--page FILE.md]

`imagenet_lite0` needs models/imagenet_lite0.onnx and what data/imagenet_npz.py there writes, in FOLDER/imagenet; its
draws are 300 of the 400 calibration images. The CIFAR-10 nets need models/NAME.onnx and data/cifar10_jpeg.zip; their
draws are 500 training images, other ones each. Under budgets of MACs widths are not rounded. Under budgets of latency,
on one thread, they are as the default has them and whole branches may go; original and result are timed side by side
once more when all is written. The method is `reconstruction`, and no label is used but to choose between stages. Every
figure is a line of ROWS as soon as it is known, and is not computed again.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks import command
from benchmarks.nets import LITE, LITE_PIXELS, PIXELS, cifar_pixels
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from onnxprune import inspect, load, prune
from onnxprune.latency import board
from onnxprune.latency.jobs import input_shapes
from onnxprune.values.preprocess import Preprocess

KEY = ("net", "macs", "latency", "way", "draw")
DRAWN = {LITE: 300}
"""Calibration images of a draw; of the other nets it is `OTHERS`."""

OTHERS = 500


@dataclass(frozen=True)
class Net:
    """A model, its calibration images to draw from, its test images, and how it wants its pixels."""

    name: str
    model: Path
    calibration: Path
    test: Path
    pixels: dict[str, Any]


def open_net(name: str, shared: Path, cache: Path) -> Net | None:
    """Return a net with its images made ready, or None where its files are not there."""
    model = shared / "models" / f"{name}.onnx"
    if name == LITE:
        folder = cache / "imagenet"
        calibration, test = folder / "calib.npz", folder / "test.npz"
        ready = model.exists() and calibration.exists() and test.exists()
        return Net(name, model, calibration, test, _given(LITE_PIXELS)) if ready else None
    images = shared / "data" / "cifar10_jpeg.zip"
    if not (model.exists() and images.exists()):
        return None
    calibration, test = cache / "recovery-train.npz", cache / "recovery-test.npz"
    if not (calibration.exists() and test.exists()):
        train, tested, names = cifar_pixels(images, cache)
        for path, (x, y) in ((calibration, train), (test, tested)):
            np.savez(path, x=x, y=y, class_names=np.array(names))
    return Net(name, model, calibration, test, _given(PIXELS))


def _given(pixels: Preprocess) -> dict[str, Any]:
    return {"mean": pixels.mean, "std": pixels.std}


def drawn(net: Net, draw: int, target: Path, count: int | None = None) -> None:
    """Write a draw of calibration images: as many of each class, or any where classes have one image each.

    There are `count` of them; None: as many as the net has.
    """
    count = DRAWN.get(net.name, OTHERS) if count is None else count
    with np.load(net.calibration) as data:
        arrays = dict(data)
    rng, y = np.random.default_rng(draw), arrays["y"]
    classes = np.unique(y)
    if len(classes) > count or len(classes) * 2 > len(y):
        rows = rng.permutation(len(y))[:count]
    else:
        each = count // len(classes)
        rows = np.concatenate([rng.permutation(np.flatnonzero(y == label))[:each] for label in classes])
    rows = np.sort(rows)
    names = {name: value for name, value in arrays.items() if name not in ("x", "y")}
    np.savez(target, x=arrays["x"][rows], y=y[rows], **names)


def measured(net: Net, macs: float | None, latency: float | None, way: str, draw: int) -> Row:
    """Prune with one draw, measure every stage on the test images, and time what was to keep to a latency."""
    budget: dict[str, Any] = {"macs": macs, "round_to": 1} if latency is None else {"latency": latency, "threads": 1}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "draw.npz"
        drawn(net, draw, data)
        start = time.perf_counter()
        result = prune(
            net.model,
            data,
            "reconstruction",
            test=net.test,
            recovery=way,
            output=Path(folder) / "out.onnx",
            **budget,
            **net.pixels,
        )
        seconds = time.perf_counter() - start
        share = None if latency is None else timed(net.model, Path(folder) / "out.onnx")
    assert result.quality is not None
    assert result.quality.before is not None
    assert result.quality.after is not None
    return {
        "before": result.quality.before.top1,
        "top1": result.quality.after.top1,
        "stages": {step.name: step.top1 for step in result.quality.steps},
        "images": result.quality.samples,
        "seconds": seconds,
        "left": result.plan.reached["macs"],
        "branches": len(result.plan.branches),
        "share": share,
    }


def timed(model: Path, pruned: Path) -> float:
    """Return the latency of a pruned model as a share of the original's, both timed in turn on one thread."""
    shapes = input_shapes(inspect(load(model)))
    whole, left = board.time_whole([str(model), str(pruned)], shapes, 1)
    return left["median"] / whole["median"]


def rows_of(net: Net, options: argparse.Namespace, known: Rows) -> Iterator[Row]:
    """Yield the rows of a net that are not there yet."""
    done = known.done()
    budgets = [*((macs, None) for macs in options.budgets), *((None, latency) for latency in options.latencies)]
    for macs, latency in budgets:
        for way in options.ways:
            for draw in range(options.draws):
                key = {"net": net.name, "macs": macs, "latency": latency, "way": way, "draw": draw}
                if known.key(key) not in done:
                    yield {**key, **measured(net, macs, latency, way, draw)}


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows: means over the draws, and their ranges."""
    lines = []
    kinds = ("net", "macs", "latency", "way")
    for kind in dict.fromkeys(tuple(row.get(name) for name in kinds) for row in rows):
        same = [row for row in rows if tuple(row.get(name) for name in kinds) == kind]
        first = same[0]
        stages = dict.fromkeys(name for row in same for name in row["stages"])
        parts = (f"{name} {spread([row['stages'][name] for row in same if name in row['stages']])}" for name in stages)
        lines.append((
            first["net"],
            f"{100 * first['macs']:g} % of the MACs" if first.get("latency") is None else _latency(same),
            first["way"],
            f"{100 * first['before']:.1f}",
            spread([row["top1"] for row in same]),
            ", ".join(parts),
            str(len(same)),
            f"{mean(row['seconds'] for row in same):.0f}",
        ))  # fmt: skip
    head = ("net", "budget", "--recover", "top-1 before", "top-1 written", "stages", "draws", "seconds")
    return (
        "# What each way of recovery gives back\n\n"
        "Written by `python -m benchmarks.recovery`: `--method reconstruction`, `--round-to 1` under budgets of MACs,\n"
        f"draws of {DRAWN[LITE]} calibration images for {LITE} and of {OTHERS} for the others, top-1 in percent on\n"
        "the test images (means over the draws, with the range). Seconds are of the whole run.\n\n"
        + table(head, sorted(lines))
    )


def _latency(rows: Sequence[Row]) -> str:
    shares, macs, gone = ([row[name] for row in rows] for name in ("share", "left", "branches"))
    return (
        f"{100 * rows[0]['latency']:g} % of the latency: {100 * mean(shares):.1f} % timed afterwards, "
        f"{100 * mean(macs):.0f} % of the MACs, {mean(gone):.0f} branches left out"
    )


def spread(values: Sequence[float]) -> str:
    """Return the mean of shares in percent, with their range where there are several; none: all failed."""
    if not values:
        return "failed"
    found = f"{100 * mean(values):.1f}"
    return found if len(values) == 1 else f"{found} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = command.parser(__doc__, [LITE, "cifar10_resnet56", "cifar10_resnet20"], draws=3)
    parser.add_argument("--budgets", type=command.numbers, default=[0.7, 0.5])
    parser.add_argument("--latencies", type=command.numbers, default=[])
    parser.add_argument("--ways", type=command.names, default=["refit", "match"])
    options = parser.parse_args(arguments)
    command.run(options, Rows(options.rows or options.cache / "recovery.jsonl", KEY), open_net, rows_of, page)


if __name__ == "__main__":
    main()
