"""What `--protect` is worth: points of recall that two protected classes, the others, and all together lose.

    python -m benchmarks.protect SHARED --cache FOLDER [--nets NAMES] [--macs 0.5] [--draws 5] [--rows FILE.jsonl]
                                 [--page FILE.md]

Needs models/NAME.onnx and data/cifar10_jpeg.zip. Every draw has 50 training images of each class, as
`benchmarks.recovery`, and two classes of its own to protect. Method `reconstruction`, refit, widths not rounded;
judged on all test images. A cell is a line of ROWS as soon as it is known, and is not computed again.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

from benchmarks import command
from benchmarks.recovery import Net, drawn, open_net, spread
from benchmarks.rows import Row, Rows
from benchmarks.subtasks import chosen, class_names
from benchmarks.tables import table
from onnxprune import prune

KEY = ("net", "macs", "draw", "protected")


def rows_of(net: Net, options: argparse.Namespace, known: Rows) -> Iterator[Row]:
    """Yield the rows of a net that are not there yet."""
    done, names = known.done(), class_names(net)
    for draw in range(options.draws):
        only = chosen(names, 2, draw)
        for macs in options.macs:
            for protected in (False, True):
                key = {"net": net.name, "macs": macs, "draw": draw, "protected": protected}
                if known.key(key) not in done:
                    yield {**key, "only": only, **measured(net, macs, draw, only if protected else ())}


def measured(net: Net, macs: float, draw: int, protect: Sequence[str]) -> Row:
    """Prune, and return what each class loses."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "draw.npz"
        drawn(net, draw, data)
        settings = {"macs": macs, "round_to": 1, "recovery": "refit", "protect": tuple(protect), **net.pixels}
        output = Path(folder) / "out.onnx"
        result = prune(net.model, data, "reconstruction", test=net.test, output=output, **settings)
    quality = result.quality
    assert quality is not None
    assert quality.change is not None
    return {"lost": -quality.change, "classes": {row.name: row.drop for row in quality.classes}}


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows: means over the draws, and their ranges."""
    lines = []
    for net, macs in dict.fromkeys((row["net"], row["macs"]) for row in rows):
        for protected in (False, True):
            same = [row for row in rows if (row["net"], row["macs"], row["protected"]) == (net, macs, protected)]
            named, others = ([_mean(row, of=of) for row in same] for of in (True, False))
            found = (spread(named), spread(others), spread([row["lost"] for row in same]))
            lines.append((net, f"{100 * macs:g} %", "yes" if protected else "no", *found, str(len(same))))
    head = ("net", "MACs left", "protected", "lost by the two classes", "by the others", "by all", "draws")
    return (
        "# Protected classes\n\n"
        "Written by `python -m benchmarks.protect`: points of recall lost on the test images, with refit, two classes\n"
        "drawn anew with every draw of 500 calibration images; means over the draws, with the range.\n\n"
        + table(head, lines)
    )


def _mean(row: Row, *, of: bool) -> float:
    return float(mean(drop for name, drop in row["classes"].items() if (name in row["only"]) == of))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = command.parser(__doc__, ["cifar10_resnet20"], draws=5)
    parser.add_argument("--macs", type=command.numbers, default=[0.5])
    options = parser.parse_args(arguments)
    command.run(options, Rows(options.rows or options.cache / "protect.jsonl", KEY), open_net, rows_of, page)


if __name__ == "__main__":
    main()
