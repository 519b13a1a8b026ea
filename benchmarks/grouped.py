"""What the order of channels within the groups of convolutions is worth: every group loses its own, or equal columns.

    python -m benchmarks.grouped SHARED --cache FOLDER [--methods NAMES] [--macs 0.5,0.35] [--draws 3]
                                 [--rows FILE.jsonl] [--page FILE.md]

Needs models/fashion_resnext.onnx (bottlenecks of 8 groups) and data/fashion_mnist.npz. Every draw has 50 training
images of each class; recovery is refit, and all test images judge. A cell is a line of ROWS as soon as it is known, and
is not computed again.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks import command
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from onnxprune import prune

NET = "fashion_resnext"
KEY = ("net", "method", "macs", "draw", "ordered")
EACH = 50
PIXELS = {"mean": [0.286], "std": [0.353]}

Array = NDArray[Any]


@dataclass(frozen=True)
class Net:
    """A model, and the images to draw from and to judge by."""

    name: str
    model: Path
    images: Path


def open_net(name: str, shared: Path, _cache: Path) -> Net | None:
    """Return the net, or None where its files are not there."""
    model, images = shared / "models" / f"{name}.onnx", shared / "data" / "fashion_mnist.npz"
    return Net(name, model, images) if model.exists() and images.exists() else None


def rows_of(net: Net, options: argparse.Namespace, known: Rows) -> Iterator[Row]:
    """Yield the rows of a net that are not there yet."""
    done = known.done()
    for draw in range(options.draws):
        for method in options.methods:
            for macs in options.macs:
                for ordered in (False, True):
                    key = {"net": net.name, "method": method, "macs": macs, "draw": draw, "ordered": ordered}
                    if known.key(key) not in done:
                        yield {**key, "top1": measured(net, key)}


def measured(net: Net, key: Row) -> float:
    """Prune, and return the accuracy on all test images."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data, test = Path(folder) / "draw.npz", Path(folder) / "test.npz"
        with np.load(net.images) as images:
            chosen = drawn(images["y_train"], key["draw"])
            np.savez(data, x=images["x_train"][chosen, None], y=images["y_train"][chosen])
            np.savez(test, x=images["x_test"][:, None], y=images["y_test"])
        if not key["ordered"]:  # there is no option that leaves it out
            stack.enter_context(patch("onnxprune.pipeline.execution.arranging._in_best_order", nullcontext))
        settings = {"macs": key["macs"], "recovery": "refit", "force": True, **PIXELS}
        result = prune(net.model, data, key["method"], test=test, output=Path(folder) / "out.onnx", **settings)
    assert result.quality is not None
    assert result.quality.after is not None
    return result.quality.after.top1


def drawn(labels: Array, draw: int) -> Array:
    """Return the rows of a draw: as many of each class."""
    rng = np.random.default_rng(draw)
    return np.concatenate([rng.choice(np.flatnonzero(labels == c), EACH, replace=False) for c in np.unique(labels)])


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows: means over the draws, and the difference with its standard error."""
    lines = []
    for net, method, macs in dict.fromkeys((row["net"], row["method"], row["macs"]) for row in rows):
        same = [row for row in rows if (row["net"], row["method"], row["macs"]) == (net, method, macs)]
        found = [{row["draw"]: 100 * row["top1"] for row in same if row["ordered"] == ordered} for ordered in (0, 1)]
        draws = sorted(found[0].keys() & found[1].keys())
        if draws:
            columns, own = ([values[draw] for draw in draws] for values in found)
            gains = [b - a for a, b in zip(columns, own, strict=True)]
            error = f" ({stdev(gains) / len(gains) ** 0.5:.2f})" if len(gains) > 1 else ""
            figures = (f"{mean(columns):.2f}", f"{mean(own):.2f}", f"{mean(gains):+.2f}{error}", str(len(draws)))
            lines.append((net, method, f"{100 * macs:g} %", *figures))
    head = ("net", "method", "MACs left", "equal columns", "each group its own", "difference (standard error)", "draws")
    return (
        "# Channels of grouped convolutions\n\n"
        "Written by `python -m benchmarks.grouped`: top-1 on the test images, with refit on draws of 500 training\n"
        "images, when all groups of a convolution lose the same columns, and when each loses its own least.\n\n"
        + table(head, lines)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = command.parser(__doc__, [NET], draws=3)
    parser.add_argument("--methods", type=command.names, default=["reconstruction", "l1", "entropy"])
    parser.add_argument("--macs", type=command.numbers, default=[0.5, 0.35])
    options = parser.parse_args(arguments)
    command.run(options, Rows(options.rows or options.cache / "grouped.jsonl", KEY), open_net, rows_of, page)


if __name__ == "__main__":
    main()
