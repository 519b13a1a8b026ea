"""The page of the methods benchmark: Markdown tables from its rows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, variance
from typing import Any

import numpy as np

from benchmarks.methods_plot import RECOVERIES, Row, write_plot
from benchmarks.nets import LITE
from benchmarks.tables import table
from onnxprune.values.accuracy import Z95

INTRODUCTION = """\
Written by `python -m benchmarks.methods`. Top-1 in percent on test images that no score and no recovery saw; no
training. A draw of calibration images is 50 of 200 training images of every class (20 of 30 for the digits), used for
scores, widths and recovery. Widths are not rounded. Behind refit the means over the draws, the lowest and the highest;
all else is of the first draw. An empty cell was not computed, or the method does not apply (`bn-scale` where the
normalisations are folded).
"""

BLIND = ("apoz", "bn-scale", "fpgm", "l1", "l2", "mean-activation", "random", "reconstruction")
"""Methods that are told nothing of classes."""


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
    parts += ["## On the average of the nets\n", AVERAGE, *_differences(cells)]
    for original in (row for row in rows if row["method"] == "original"):
        mine = [row for row in cells if row["net"] == original["net"]]
        if mine:
            parts += _net(original, mine)
    parts.append("![Points of top-1 lost against MACs left](methods.svg)\n")
    return "\n".join(parts)


AVERAGE = """\
Paired differences of top-1 behind refit, from `random` and from the best of the methods that are told nothing of
classes: the mean of the nets' means over draws that both have, with its 95 % range, which is that of the draws. A
method has to be there for all of these nets. imagenet_lite0, whose scores go by super-classes, is not among them.
"""

Found = Mapping[str, Mapping[int, float]]
"""Top-1 of one method, by net and draw."""


def _differences(cells: list[Row]) -> list[str]:
    """Return a table for each budget."""
    parts = []
    for budget in sorted({row["macs"] for row in cells}, reverse=True):
        found: dict[str, dict[str, dict[int, float]]] = {}
        for row in cells:
            if row["macs"] == budget and row["recover"] == "refit" and row["net"] != LITE:
                found.setdefault(row["method"], {}).setdefault(row["net"], {})[row["draw"]] = row["top1"]
        nets = max((values.keys() for values in found.values()), key=len, default=())
        whole = {name: values for name, values in found.items() if values.keys() == nets}
        best = max((name for name in whole if name in BLIND), key=lambda name: _mean(whole[name]), default=None)
        if "random" not in whole or best is None:
            continue
        body = [
            [f"`{name}`", f"{_mean(values):.2f}", *(_paired(values, whole[than]) for than in ("random", best))]
            for name, values in sorted(whole.items(), key=lambda item: -_mean(item[1]))
        ]
        parts += [
            f"### {budget:.0%} of the MACs, {len(nets)} nets\n",
            table(["method", "top-1", "from `random`", f"from `{best}`"], body),
        ]
    return parts


def _mean(values: Found) -> float:
    return mean(mean(draws.values()) for draws in values.values())


def _paired(values: Found, others: Found) -> str:
    pairs = [
        [top1 - others[net][draw] for draw, top1 in draws.items() if draw in others[net]]
        for net, draws in values.items()
    ]
    if not all(pairs):
        return ""
    difference = mean(mean(found) for found in pairs)
    if min(map(len, pairs)) < 2:
        return f"{difference:+.2f}"
    error = sum(variance(found) / len(found) for found in pairs) ** 0.5 / len(pairs)
    return f"{difference:+.2f} ± {Z95 * error:.2f}"


def _net(original: Row, rows: list[Row]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in original["versions"].items())
    head = f"{original['top1']:.2f} % before, {original['test_images']} test images; {versions}."

    def worst(row: Row) -> float:
        return max(float(before - after) for before, after in zip(original["by_class"], row["by_class"], strict=True))

    return [
        f"## {original['net']}\n",
        head + "\n",
        _by_budget(rows, RECOVERIES, _top1),
        "Points that the worst class lost:\n",
        _by_budget(rows, ("none", "refit"), worst),
    ]


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
