"""Does recovery gain by more images, and does it ever lose against its own cut and fold? Paired on test images.

    python -m benchmarks.images SHARED --cache FOLDER [--net cifar10_resnet20] [--macs 0.5] [--counts 50,100,200,500]
                                [--draws 3] [--drawn 200] [--times 20] [--rows FILE.jsonl] [--page FILE.md]

The images of a draw are added one after the other: those of a smaller count are among those of a larger one. Needs what
`benchmarks.recovery` needs. Which test images each result has right is a line of ROWS as soon as it is known, and is
not computed again. A difference counts as a loss where it is more than two standard errors of the paired differences.
"""

import argparse
import base64
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.recovery import Net, open_net
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from benchmarks.threads import limit_threads
from onnxprune import load, open_data, prune
from onnxprune.runtime import open_session
from onnxprune.values.preprocess import Preprocess

KEY = ("net", "macs", "count", "draw")
WAYS = ("fold", "refit")
ERRORS = 2.0
"""Paired standard errors that count."""

Hits = NDArray[np.bool_]


def drawn(net: Net, count: int, draw: int, target: Path) -> None:
    """Write the first `count` images of a draw: as many of each class, as far as that comes out even."""
    with np.load(net.calibration) as data:
        arrays = dict(data)
    rng, y = np.random.default_rng(draw), arrays["y"]
    by_class = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    longest = max(map(len, by_class))
    turns = [rows[place] for place in range(longest) for rows in by_class if place < len(rows)]
    chosen = np.asarray(turns[:count])
    names = {name: value for name, value in arrays.items() if name not in ("x", "y")}
    np.savez(target, x=arrays["x"][chosen], y=y[chosen], **names)


def hits(model: Path, net: Net) -> Hits:
    """Return which of the test images a model has right."""
    found = load(model)
    pixels = prune_pixels(net)
    data = open_data(net.test, found.graph.input_specs, pixels)
    session = open_session(found.proto, found.weights, name=str(model))
    right = []
    for batch in data.batches(100):
        (scores, *_) = session.run_samples(batch.feeds).values()
        right.append(scores.reshape(len(batch), -1).argmax(axis=1) == batch.labels)
    return np.concatenate(right)


def prune_pixels(net: Net) -> Preprocess:
    """Return how a net wants its pixels, as the data are opened with."""
    mean, std = (tuple(net.pixels[name]) for name in ("mean", "std"))
    return Preprocess(mean=mean * 3 if len(mean) == 1 else mean, std=std * 3 if len(std) == 1 else std)


def measured(net: Net, macs: float, count: int, draw: int) -> Row:
    """Prune with so many images of a draw, by each way, and note which test images are right."""
    found: Row = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "draw.npz"
        drawn(net, count, draw, data)
        for way in WAYS:
            output = Path(folder) / f"{way}.onnx"
            settings: Mapping[str, Any] = {"macs": macs, "round_to": 1, "recovery": way, "holdout": 0.02, **net.pixels}
            prune(net.model, data, "reconstruction", test=net.test, output=output, **settings)
            found[way] = base64.b64encode(np.packbits(hits(output, net)).tobytes()).decode()
    return found


def unpacked(row: Row, way: str) -> NDArray[np.float64]:
    """Return what `measured` noted, as numbers."""
    return np.unpackbits(np.frombuffer(base64.b64decode(row[way]), dtype=np.uint8)).astype(np.float64)


def errors_below(worse: NDArray[np.float64], better: NDArray[np.float64]) -> float:
    """Return by how many paired standard errors the first is below the second; negative: above."""
    difference = better - worse
    spread = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return float(difference.mean()) / spread if spread else 0.0


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows."""
    lines = []
    for row in sorted(rows, key=lambda row: (row["net"], row["draw"], row["count"])):
        own = [found for found in rows if (found["net"], found["draw"]) == (row["net"], row["draw"])]
        fewer = [found for found in own if found["count"] < row["count"]]
        falls = max((errors_below(unpacked(row, "refit"), unpacked(found, "refit")) for found in fewer), default=0.0)
        against = errors_below(unpacked(row, "refit"), unpacked(row, "fold"))
        lines.append((
            row["net"],
            str(row["draw"]),
            str(row["count"]),
            *(f"{100 * unpacked(row, way).mean():.1f}" for way in WAYS),
            f"{max(0.0, falls):.1f}",
            f"{max(0.0, against):.1f}",
        ))  # fmt: skip
    worst = [max(float(line[place]) for line in lines) for place in (-2, -1)]
    head = ("net", "draw", "images", "fold", "refit", "errors below fewer images", "errors below its own fold")
    return (
        "# More images, and fold against refit\n\n"
        "Written by `python -m benchmarks.images`: top-1 in percent on the test images, and by how many paired\n"
        f"standard errors a result is below the best with fewer images of the same draw (at most {worst[0]:.1f}; above "
        f"{ERRORS:g} counts as a loss)\nand below its own cut and fold (at most {worst[1]:.1f}).\n\n"
        + table(head, lines)
    )


def wanted(options: argparse.Namespace) -> Iterator[tuple[int, int]]:
    """Yield the counts and draws."""
    yield from ((count, draw) for draw in range(options.draws) for count in options.counts)
    yield from ((options.drawn, draw) for draw in range(options.times))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--net", default="cifar10_resnet20")
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--counts", type=lambda text: [int(part) for part in text.split(",")], default="50,100,200,500")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--drawn", type=int, default=200)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    limit_threads(options.threads)
    net = open_net(options.net, options.shared, options.cache)
    if net is None:
        sys.exit(f"{options.net} or its images are not in {options.shared} and {options.cache}")
    known = Rows(options.rows or options.cache / "images.jsonl", KEY)
    known.mend()
    for count, draw in wanted(options):
        key = {"net": net.name, "macs": options.macs, "count": count, "draw": draw}
        if known.key(key) not in known.done():
            row = {**key, **measured(net, options.macs, count, draw)}
            known.append(row)
            print({**key, **{way: f"{100 * unpacked(row, way).mean():.1f}" for way in WAYS}}, flush=True)
    if options.page is not None:
        options.page.write_text(page(known.read()), encoding="utf-8")


if __name__ == "__main__":
    main()
