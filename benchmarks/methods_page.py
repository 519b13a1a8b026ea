"""The page of the methods benchmark: Markdown tables from its rows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.methods_plot import RECOVERIES, Row, write_plot
from benchmarks.tables import table

INTRODUCTION = """\
Written by `python -m benchmarks.methods`. Top-1 in percent on test images that no score and no recovery saw; no
training. Calibration: the first 10, 50 or 200 training images of every class (50 where nothing is said), used for
scores, recovery and its own hold-out; recovery takes 512 of them at most. Widths are not rounded (round-to 1).
`random` is the mean of its seeds, with the lowest and the highest. An empty cell was not computed, or the method does
not apply (`bn-scale` where the normalisations are folded).
"""


def write_page(rows: Sequence[Row], folder: Path) -> None:
    """Write methods.md and methods.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "methods.md").write_text(page(rows), encoding="utf-8")
    write_plot(rows, folder / "methods.svg")


def page(rows: Sequence[Row]) -> str:
    """Return the page."""
    cells = [row for row in rows if row["method"] != "original"]
    parts = [
        "# Methods, budgets and recovery\n",
        INTRODUCTION,
    ]
    for original in (row for row in rows if row["method"] == "original"):
        mine = [row for row in cells if row["net"] == original["net"]]
        if mine:
            parts += _net(original, mine)
    parts.append("![Top-1 against MACs left](methods.svg)\n")
    return "\n".join(parts)


def _net(original: Row, rows: list[Row]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in original["versions"].items())
    main = [row for row in rows if row["size"] == 50 and row["seen"] == "all"]
    head = f"{original['top1']:.2f} % before, {original['test_images']} test images; {versions}."
    parts = [
        f"## {original['net']}\n",
        head + "\n",
        _by_budget(main, RECOVERIES, lambda row: row["top1"]),
    ]

    def worst(row: Row) -> float:
        return max(float(before - after) for before, after in zip(original["by_class"], row["by_class"], strict=True))

    parts += ["Points that the worst class lost:\n", _by_budget(main, ("none", "refit"), worst)]
    sizes = [row for row in rows if row["macs"] == 0.5 and row["recover"] == "refit" and row["seen"] == "all"]
    few = {row["method"] for row in sizes if row["size"] != 50}
    if few:
        columns = sorted({row["size"] for row in sizes})
        parts += [
            "By images per class, at 50 % of the MACs, refit:\n",
            _grid("method", [row for row in sizes if row["method"] in few], columns, lambda r: r["size"], str, _top1),
        ]
    parts += _subtask(original, rows)
    return parts


def _subtask(original: Row, rows: list[Row]) -> list[str]:
    """Compare scores and recovery from a subtask's images with those from all images, on the subtask."""
    methods = {row["method"] for row in rows if row["seen"] == "subtask"}
    half = [row for row in rows if row["method"] in methods and row["macs"] == 0.5 and row["size"] == 50]
    columns = [("all", "none"), ("subtask", "none"), ("all", "refit"), ("subtask", "refit")]
    if not methods:
        return []
    text = (
        f"Subtask of three classes, top-1 on their images among them ({original['subtask_top1']:.2f} before), at 50 % "
        "of the MACs; scores and recovery from images of all classes, or of the three alone:\n"
    )
    title = lambda pair: f"{pair[0]}, {pair[1]}"  # noqa: E731
    grid = _grid(
        "method", half, columns, lambda r: (r["seen"], r["recover"]), title, lambda r: float(r["subtask_top1"])
    )
    return [text, grid]


def _top1(row: Row) -> float:
    return float(row["top1"])


def _by_budget(rows: list[Row], recoveries: Sequence[str], value: Callable[[Row], float]) -> str:
    budgets = sorted({row["macs"] for row in rows}, reverse=True)
    there = {(row["macs"], row["recover"]) for row in rows}
    columns = [(budget, name) for budget in budgets for name in recoveries if (budget, name) in there]
    return _grid("method", rows, columns, lambda r: (r["macs"], r["recover"]), lambda c: f"{c[0]:.0%} {c[1]}", value)


def _grid(
    corner: str,
    rows: list[Row],
    columns: Sequence[Any],
    column: Callable[[Row], Any],
    title: Callable[[Any], str],
    value: Callable[[Row], float],
) -> str:
    """Return a table of methods by columns."""
    methods = sorted({row["method"] for row in rows})
    cells = {
        (name, place): [value(row) for row in rows if row["method"] == name and column(row) == place]
        for name in methods
        for place in columns
    }
    body = [[f"`{name}`", *(_cell(cells[name, place]) for place in columns)] for name in methods]
    return table([corner, *map(title, columns)], body)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ({min(values):.1f}-{max(values):.1f})" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"
