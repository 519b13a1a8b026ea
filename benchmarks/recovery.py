"""What each way of recovery gives back: top-1 on test images by net, budget and draw of calibration images.

    python -m benchmarks.recovery SHARED --cache FOLDER [--nets NAMES] [--budgets 0.7,0.5] [--ways refit,match]
                                  [--draws 3] [--rows FILE.jsonl] [--page FILE.md]

`imagenet_lite0` needs models/imagenet_lite0.onnx and what data/imagenet_npz.py there writes, in FOLDER/imagenet; its
draws are 300 of the 400 calibration images. The CIFAR-10 nets need models/NAME.onnx and data/cifar10_jpeg.zip; their
draws are 500 training images, other ones each. Widths are not rounded, the method is `reconstruction`, and no label is
used but to choose between stages. Every figure is a line of ROWS as soon as it is known, and is not computed again.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.nets import cifar_pixels
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from benchmarks.threads import limit_threads
from onnxprune import prune

LITE = "imagenet_lite0"
KEY = ("net", "macs", "way", "draw")
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
        return Net(name, model, calibration, test, {"mean": (0.498,), "std": (0.502,)}) if ready else None
    images = shared / "data" / "cifar10_jpeg.zip"
    if not (model.exists() and images.exists()):
        return None
    calibration, test = cache / "recovery-train.npz", cache / "recovery-test.npz"
    if not (calibration.exists() and test.exists()):
        train, tested, names = cifar_pixels(images, cache)
        for path, (x, y) in ((calibration, train), (test, tested)):
            np.savez(path, x=x, y=y, class_names=np.array(names))
    return Net(name, model, calibration, test, {"preprocess": "cifar10"})


def drawn(net: Net, draw: int, target: Path) -> None:
    """Write a draw of calibration images: as many of each class, or any where classes have one image each."""
    count = DRAWN.get(net.name, OTHERS)
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


def measured(net: Net, macs: float, way: str, draw: int) -> Row:
    """Prune with one draw, and measure every stage on the test images."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "draw.npz"
        drawn(net, draw, data)
        start = time.perf_counter()
        result = prune(
            net.model,
            data,
            "reconstruction",
            test=net.test,
            macs=macs,
            round_to=1,
            recovery=way,
            output=Path(folder) / "out.onnx",
            **net.pixels,
        )
        seconds = time.perf_counter() - start
    assert result.quality is not None
    assert result.quality.before is not None
    assert result.quality.after is not None
    return {
        "before": result.quality.before.top1,
        "top1": result.quality.after.top1,
        "stages": {step.name: step.top1 for step in result.quality.steps},
        "images": result.quality.samples,
        "seconds": seconds,
    }


def rows_of(net: Net, options: argparse.Namespace, known: Rows) -> Iterator[Row]:
    """Yield the rows of a net that are not there yet."""
    done = known.done()
    for macs in options.budgets:
        for way in options.ways:
            for draw in range(options.draws):
                key = {"net": net.name, "macs": macs, "way": way, "draw": draw}
                if known.key(key) not in done:
                    yield {**key, **measured(net, macs, way, draw)}


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows: means over the draws, and their ranges."""
    lines = []
    for net, macs, way in dict.fromkeys((row["net"], row["macs"], row["way"]) for row in rows):
        same = [row for row in rows if (row["net"], row["macs"], row["way"]) == (net, macs, way)]
        stages = dict.fromkeys(name for row in same for name in row["stages"])
        parts = (f"{name} {_spread([row['stages'][name] for row in same if name in row['stages']])}" for name in stages)
        lines.append((
            net,
            f"{100 * macs:g} %",
            way,
            f"{100 * same[0]['before']:.1f}",
            _spread([row["top1"] for row in same]),
            ", ".join(parts),
            str(len(same)),
            f"{mean(row['seconds'] for row in same):.0f}",
        ))  # fmt: skip
    head = ("net", "MACs left", "--recover", "top-1 before", "top-1 written", "stages", "draws", "seconds")
    return (
        "# What each way of recovery gives back\n\n"
        "Written by `python -m benchmarks.recovery`: `--method reconstruction --round-to 1`, draws of "
        f"{DRAWN[LITE]} calibration\nimages for {LITE} and of {OTHERS} for the others, top-1 in percent on the test "
        "images (means over the draws, with\nthe range). Seconds are of the whole run.\n\n" + table(head, sorted(lines))
    )


def _spread(values: Sequence[float]) -> str:
    found = f"{100 * mean(values):.1f}"
    return found if len(values) == 1 else f"{found} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument(
        "--nets", type=lambda text: text.split(","), default=[LITE, "cifar10_resnet56", "cifar10_resnet20"]
    )
    parser.add_argument("--budgets", type=lambda text: [float(part) for part in text.split(",")], default=[0.7, 0.5])
    parser.add_argument("--ways", type=lambda text: text.split(","), default=["refit", "match"])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    limit_threads(options.threads)
    options.cache.mkdir(parents=True, exist_ok=True)
    known = Rows(options.rows or options.cache / "recovery.jsonl", KEY)
    known.mend()
    for name in options.nets:
        net = open_net(name, options.shared, options.cache)
        if net is None:
            print(f"{name} or its images are not in {options.shared} and {options.cache}", file=sys.stderr)
            continue
        for row in rows_of(net, options, known):
            known.append(row)
            print(row, flush=True)
    if options.page is not None:
        options.page.write_text(page(known.read()), encoding="utf-8")


if __name__ == "__main__":
    main()
