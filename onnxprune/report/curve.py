"""The curve of the plans that were tried, what is left against what is lost: as a table, as JSON and as a plot."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.values.trials import COLUMNS, Search

STYLE: Any = {
    "svg.hashsalt": "onnxprune",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def curve_files(search: Search, places: Mapping[str, Path]) -> dict[Path, bytes]:
    """Return the content of the files of a curve, by where they go.

    Args:
        search: the plans that were tried.
        places: where each kind goes, by its ending: csv, json, svg.
    """
    makers = {"csv": curve_csv, "json": curve_json, "svg": curve_plot}
    return {path: makers[ending](search) for ending, path in places.items()}


def curve_csv(search: Search) -> bytes:
    """Return a row for each plan, the fewest multiply-adds first; shares are numbers from 0 to 1."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(search))
    return text.getvalue().encode()


def curve_json(search: Search) -> bytes:
    """Return the same as JSON, with the limits and the data."""
    found = {"limits": dict(search.limits), "source": search.source, "trials": _rows(search)}
    return (json.dumps(found, indent=1) + "\n").encode()


def curve_plot(search: Search) -> bytes:
    """Return the same as a drawing (SVG): top-1 with its interval against the MACs, or the change of the outputs."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows, buffer = _rows(search), io.BytesIO()
    labelled = all(row["top1"] is not None for row in rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6, 4), layout="constrained")
        panel = figure.subplots()
        macs = [100 * row["macs"] for row in rows]
        found = [_percent(row["top1" if labelled else "drift"]) for row in rows]
        if labelled:
            below = [value - _percent(row["top1_low"]) for value, row in zip(found, rows, strict=True)]
            above = [_percent(row["top1_high"]) - value for value, row in zip(found, rows, strict=True)]
            spans = np.maximum([below, above], 0)  # rounding may leave a hair below nothing
            panel.errorbar(macs, found, spans, color="0.7", ecolor="0.85", marker="o", markersize=4, gid="plans")
        else:
            panel.plot(macs, found, color="0.7", marker="o", markersize=4, gid="plans")
        for row, value in zip(rows, found, strict=True):
            if row["chosen"]:
                panel.plot(100 * row["macs"], value, "o", color="C3", label="chosen", gid="chosen", zorder=3)
                panel.legend()
        panel.set_xlabel("MACs left (%)")
        panel.set_ylabel("top-1 (%), 95 % interval" if labelled else "change of the outputs (%)")
        panel.set_title(f"{len(rows)} plans on {rows[0]['samples']} samples" if rows else "no plans")
        panel.grid(axis="y", color="0.92")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _rows(search: Search) -> Sequence[dict[str, Any]]:
    return sorted((trial.to_json() for trial in search.trials), key=lambda row: row["macs"])


def _percent(share: float | None) -> float:
    """Return a share in percent; what was not measured is not drawn."""
    return math.nan if share is None else 100 * share
