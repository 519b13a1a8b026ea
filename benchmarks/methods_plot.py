"""The plot of the methods benchmark: what accuracy is lost against the share of MACs left."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = dict[str, Any]

RECOVERIES = ("none", "fold", "refit", "match")
STRONG = ("catro", "class-aware", "entropy", "reconstruction", "l1", "random", "fisher")
"""Methods drawn in colour, the others in grey."""

SETTINGS: Any = {
    "svg.hashsalt": "onnxprune",
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


LEAST, MOST = 0.1, 100.0
"""Points of top-1 lost that the scale of all panels goes from and to; less, or a gain, is drawn at the least."""


def write_plot(rows: Sequence[Row], path: Path) -> None:
    """Write one panel per net and recovery as SVG, all on one scale: points of top-1 lost, logarithmic, less on top."""
    cells = [row for row in rows if row["method"] != "original"]
    before = {row["net"]: row["top1"] for row in rows if row["method"] == "original"}
    nets = sorted({row["net"] for row in cells})
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(13, 0.5 + 2.7 * len(nets)), layout="constrained")
        panels = figure.subplots(len(nets), len(RECOVERIES), squeeze=False, sharex=True, sharey=True)
        for first, (line, net) in enumerate(zip(panels, nets, strict=True)):
            for place, (panel, recovery) in enumerate(zip(line, RECOVERIES, strict=True)):
                mine = [row for row in cells if row["net"] == net and row["recover"] == recovery]
                panel.set_title(f"{net}, {recovery}" + ("" if mine else ": not measured"))
                _draw(panel, mine, before.get(net, 100.0), first * len(RECOVERIES) + place)
            line[0].set_ylabel("points of top-1 lost")
        panels[0][0].set_yscale("log")
        panels[0][0].set_ylim(MOST, LEAST / 1.2)
        panels[0][0].set_yticks([100, 10, 1, LEAST], ["100", "10", "1", f"{LEAST:g} or less"])
        for panel in panels[-1]:
            panel.set_xlabel("MACs left (%)")
        handles = {
            label: handle
            for panel in panels.flat
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw(panel: Axes, rows: Sequence[Row], before: float, number: int) -> None:
    for name in sorted({row["method"] for row in rows}, key=lambda name: (name in STRONG, name)):
        mine = [row for row in rows if row["method"] == name]
        budgets = sorted({row["macs"] for row in mine})
        means = [np.mean([row["top1"] for row in mine if row["macs"] == budget]) for budget in budgets]
        strong = name in STRONG
        panel.plot(
            [100 * budget for budget in budgets],
            [max(LEAST, before - float(mean)) for mean in means],
            marker="o",
            markersize=3,
            color=f"C{STRONG.index(name)}" if strong else "0.8",
            linewidth=1.4 if strong else 0.8,
            gid=f"line {number} {name}",
            label=name if strong else "the others",
        )
    panel.grid(axis="y", color="0.9")
