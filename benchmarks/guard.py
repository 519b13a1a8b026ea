"""The search behind --max-drop beside brute force: what it finds, what that costs, and whether it holds on test images.

    python -m benchmarks.guard SHARED --cache FOLDER [--nets NAMES] [--methods entropy] [--max-drop 1] [--plans 40]
                               [--calibration 500] [--held-out 2000] [--rows FILE.jsonl] [--page FILE.md]

The sample models need nothing from SHARED; the CIFAR-10 nets need models/NAME.onnx and data/cifar10_jpeg.zip there.
Their samples are the first training images of every class, a part of which is held out: no score and no recovery sees
it, plans are chosen on it. The sample models have few, which says what a user gets with few. Test images are others,
which are looked at once, at the end.

Brute force measures the plans at budgets spaced evenly from 2 % to 98 % of the multiply-adds on the same held-out
images and takes the smallest of those that hold the limit. The search is not told of them. Every figure is a line of
ROWS as soon as it is known, and is not computed again; the page is written from all of them.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nets import cifar_pixels, first_of_each
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from benchmarks.threads import limit_threads
from onnxprune import Result, prune
from onnxprune.errors import UnreachableError

SAMPLES = Path(__file__).parents[1] / "sample_models"
NETS = ("digits_resnet", "digits_convnet", "cifar10_resnet20", "cifar10_resnet56")
KEY = ("net", "method", "max_drop", "plan")
SEARCH = "search"
"""The plan's name of the row that the search makes; the others are numbers of brute force."""

COMPLETE = 0.9
"""Share of the plans of brute force that have to be there; the least budgets may be below what any cut leaves."""

ALL = 1.0
"""A limit that every plan holds: it is measured all the same."""


@dataclass(frozen=True)
class Net:
    """A model and its data; `holdout` of them is what plans are chosen on."""

    name: str
    model: Path
    data: Path
    test: Path
    holdout: float
    preprocess: str


def open_net(name: str, options: argparse.Namespace) -> Net | None:
    """Return a net, its data made ready, or None where its files are not there."""
    model = SAMPLES / f"{name}.onnx"
    if model.exists():
        return Net(name, model, SAMPLES / "calib", SAMPLES / "test", 0.2, "unit")
    model, images = options.shared / "models" / f"{name}.onnx", options.shared / "data" / "cifar10_jpeg.zip"
    if not (model.exists() and images.exists()):
        return None
    total = options.calibration + options.held_out
    data, test = options.cache / f"guard-{total}.npz", options.cache / "guard-test.npz"
    if not (data.exists() and test.exists()):
        train, tested, names = cifar_pixels(images, options.cache)
        for path, (x, y) in ((data, first_of_each(train, total)), (test, tested)):
            np.savez(path, x=x, y=y, class_names=np.array(names))
    return Net(name, model, data, test, options.held_out / total, "cifar10")


def rows_of(net: Net, method: str, options: argparse.Namespace, known: Rows) -> Iterator[Row]:
    """Yield the rows of a net that are not there yet."""
    done, scores = known.done(), options.cache / f"guard-{net.name}-{method}.npz"
    key = {"net": net.name, "method": method, "max_drop": options.max_drop}
    if known.key({**key, "plan": SEARCH}) not in done or not scores.exists():
        yield {**key, "plan": SEARCH, **searched(net, method, scores, options)}
    # The mildest first: a run that is cut off has the plans around the limit.
    for plan, share in reversed(list(enumerate(np.linspace(0.02, 0.98, options.plans)))):
        if known.key({**key, "plan": plan}) not in done:
            with suppress(UnreachableError):  # less than the narrowest layers leave
                yield {**key, "plan": plan, **brute(net, method, scores, float(share))}


def searched(net: Net, method: str, scores: Path, options: argparse.Namespace) -> Row:
    """Search, keep the scores, and measure the result on the test images."""
    start = time.perf_counter()
    result = _pruned(net, method, test=net.test, max_drop=options.max_drop / 100, save_scores=scores)
    assert result.search is not None
    assert result.search.chosen is not None
    assert result.quality is not None
    held = result.search.chosen
    return {
        "macs": held.macs,
        "change": held.quality.change,
        "interval": held.quality.change_interval,
        "samples": held.quality.samples,
        "tried": len(result.search.trials),
        "test_change": result.quality.change,
        "test_interval": result.quality.change_interval,
        "test_samples": result.quality.samples,
        "seconds": time.perf_counter() - start,
    }


def brute(net: Net, method: str, scores: Path, share: float) -> Row:
    """Measure the plan at a budget on the held-out images, by the scores of the search."""
    result = _pruned(net, method, macs=share, scores=scores, max_drop=ALL, dry_run=True)
    assert result.search is not None
    (trial,) = result.search.trials
    return {"share": share, "macs": trial.macs, "change": trial.quality.change, "samples": trial.quality.samples}


def _pruned(net: Net, method: str, **more: Any) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        options = {"holdout": net.holdout, "preprocess": net.preprocess, "output": output, **more}
        return prune(net.model, net.data, method, **options)


def page(rows: Sequence[Row], plans: int) -> str:
    """Return the page of all nets whose rows are complete."""
    lines = []
    for row in rows:
        if row["plan"] != SEARCH:
            continue
        same = [other for other in rows if all(other[name] == row[name] for name in KEY[:3]) and other is not row]
        good = [other["macs"] for other in same if other["change"] >= -row["max_drop"] / 100 - 1e-9]
        best = min(good, default=None) if len(same) >= COMPLETE * plans else None
        lines.append((
            row["net"],
            row["method"],
            _percent(row["macs"]),
            "-" if best is None else _percent(best),
            "-" if best is None else f"{row['macs'] / best:.2f}",
            str(row["tried"]),
            str(len(same)),
            _change(row, ""),
            _change(row, "test_"),
            f"{row['seconds']:.0f}",
        ))  # fmt: skip
    limits = sorted({row["max_drop"] for row in rows})
    head = (
        "net", "method", "MACs found", "best by brute force", "ratio", "plans tried", "by brute force",
        "change on held-out", "change on test", "seconds",
    )  # fmt: skip
    return (
        "# The accuracy guard: found by search and by brute force\n\n"
        f"Written by `python -m benchmarks.guard`, with `--max-drop {', '.join(f'{limit:g}' for limit in limits)}`, "
        "`refit` and the default widths.\n"
        "The search knows the held-out images alone; the test images are measured once, at the end. Changes of top-1\n"
        "are in points with their paired 95 % intervals. Brute force takes the smallest of "
        f"{plans} plans, spaced evenly\n"
        "over the multiply-adds, that holds the limit on the same held-out images. Seconds are of the whole run, on a\n"
        "machine that was busy otherwise. A dash: brute force is not done yet.\n\n"
        "The sample models have 60 held-out images, which cannot tell a point from noise: their rows show the\n"
        "selection effect of that. The CIFAR-10 nets have more, which are training images of theirs and may be harder\n"
        "on a cut than test images.\n\n" + table(head, sorted(lines))
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _change(row: Row, what: str) -> str:
    low, high = (100 * bound for bound in row[f"{what}interval"])
    return f"{100 * row[f'{what}change']:+.1f} ({low:+.1f} to {high:+.1f}; {row[f'{what}samples']:,} images)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--nets", type=lambda text: text.split(","), default=list(NETS))
    parser.add_argument("--methods", type=lambda text: text.split(","), default=["entropy"])
    parser.add_argument("--max-drop", type=float, default=1.0)
    parser.add_argument("--plans", type=int, default=40)
    parser.add_argument("--calibration", type=int, default=500)
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    limit_threads(options.threads)
    options.cache.mkdir(parents=True, exist_ok=True)
    known = Rows(options.rows or options.cache / "guard.jsonl", KEY)
    known.mend()
    for name in options.nets:
        net = open_net(name, options)
        if net is None:
            print(f"{name} is not in {options.shared}", file=sys.stderr)
            continue
        for method in options.methods:
            for row in rows_of(net, method, options, known):
                known.append(row)
                print(f"{name} {method} {row['plan']}: {_percent(row['macs'])}", file=sys.stderr)
    if options.page is not None:
        options.page.write_text(page(known.read(), options.plans), encoding="utf-8")


if __name__ == "__main__":
    main()
