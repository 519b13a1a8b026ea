"""What arranging a model first is worth: channels of grouped convolutions in order, streams in their principal axes.

    python -m benchmarks.arranged SHARED --cache FOLDER [--nets NAMES] [--methods NAMES] [--draws 3]
                                  [--rows FILE.jsonl] [--page FILE.md]

Needs data/fashion_mnist.npz, and models/fashion_resnext.onnx (bottlenecks of 8 groups, asked for shares of the
multiply-adds) or models/fashion_vit.onnx (a stream behind LayerNormalization, of which alone channels go). Every draw
has 50 training images of each class; recovery is refit, and all test images judge. A cell is a line of ROWS as soon as
it is known, and is not computed again.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import product
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

KEY = ("net", "method", "asked", "draw", "arranged")

ASKED: dict[str, dict[str, dict[str, Any]]] = {
    "fashion_resnext": {"50 % of the MACs": {"macs": 0.5}, "35 % of the MACs": {"macs": 0.35}},
    "fashion_vit": {
        f"{share} % of the stream": {
            "allow": "approximate",
            "ratio": 0.0,
            "ratio_for": [f"/patch/Conv_output_0={100 - share}%"],
        }
        for share in (75, 50)
    },
}
"""By net what is asked for, and what that is called."""

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
    for draw, method, asked, arranged in product(range(options.draws), options.methods, ASKED[net.name], (False, True)):
        key = {"net": net.name, "method": method, "asked": asked, "draw": draw, "arranged": arranged}
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
        if not key["arranged"]:  # there is no option that leaves it out
            stack.enter_context(patch("onnxprune.pipeline.opening.arranged", nullcontext))
        settings = {**ASKED[net.name][key["asked"]], "recovery": "refit", "force": True, **PIXELS}
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
    for net, method, asked in dict.fromkeys((row["net"], row["method"], row["asked"]) for row in rows):
        same = [row for row in rows if (row["net"], row["method"], row["asked"]) == (net, method, asked)]
        found = [{row["draw"]: 100 * row["top1"] for row in same if row["arranged"] == how} for how in (False, True)]
        draws = sorted(found[0].keys() & found[1].keys())
        if draws:
            plain, own = ([values[draw] for draw in draws] for values in found)
            gains = [b - a for a, b in zip(plain, own, strict=True)]
            error = f" ({stdev(gains) / len(gains) ** 0.5:.2f})" if len(gains) > 1 else ""
            figures = (f"{mean(plain):.2f}", f"{mean(own):.2f}", f"{mean(gains):+.2f}{error}", str(len(draws)))
            lines.append((net, method, asked, *figures))
    head = ("net", "method", "left", "as the file has it", "arranged", "difference (standard error)", "draws")
    return (
        "# Models that are arranged first\n\n"
        "Written by `python -m benchmarks.arranged`: top-1 on the test images, with refit on draws of 500 training\n"
        "images. fashion_resnext: all groups of a convolution lose the same columns, or each its own least channels.\n"
        "fashion_vit: of the stream behind LayerNormalization some channels go, or as many of its principal axes.\n\n"
        + table(head, lines)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = command.parser(__doc__, list(ASKED), draws=3)
    parser.add_argument("--methods", type=command.names, default=["reconstruction", "l1"])
    options = parser.parse_args(arguments)
    command.run(options, Rows(options.rows or options.cache / "arranged.jsonl", KEY), open_net, rows_of, page)


if __name__ == "__main__":
    main()
