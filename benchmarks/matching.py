"""What `--recover match` gains over time: the error of the outputs on samples that nothing was fitted to.

    python -m benchmarks.matching SHARED --cache FOLDER [--nets cifar10_resnet20,imagenet_lite0] [--macs 0.5]
                                  [--threads 2] [--rows FILE.jsonl] [--plot FILE.svg] [--page FILE.md]

Each net is pruned with draw 0 of `benchmarks.recovery` and recovered up to refit; the clock starts with match. Needs
what `benchmarks.recovery` needs, and torch. A net is a line of ROWS as soon as it is known, and is not computed again.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.images import prune_pixels
from benchmarks.methods_plot import SETTINGS
from benchmarks.nets import LITE
from benchmarks.recovery import Net, drawn, open_net
from benchmarks.rows import Row, Rows, fill, opened
from benchmarks.tables import table
from benchmarks.threads import limit_threads
from onnxprune import apply, inspect, load, open_data, prune
from onnxprune.data import fit_and_judge
from onnxprune.recovery.run import recover_steps
from onnxprune.values.progress import Item

KEY = ("net", "macs", "threads")


class Clock:
    """A `Track` that notes when every step of the long cycle was done, in seconds."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.seconds: list[float] = []

    def __call__(self, items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        """Pass the items through."""
        del total
        for item in items:
            yield item
            if what == "Matching blocks":
                self.seconds.append(time.perf_counter() - self.start)


def measured(net: Net, macs: float) -> Row:
    """Prune, recover and note the error of the outputs over the time of match."""
    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder) / "draw.npz", Path(folder) / "out.onnx"
        drawn(net, 0, data)
        settings = {"macs": macs, "round_to": 1, "recovery": "none", "holdout": 0.2, **net.pixels}
        result = prune(net.model, data, "reconstruction", test=net.test, output=output, **settings)
        model = load(net.model)
        cut, _ = apply(model, inspect(model), result.plan)
        fit, judge = fit_and_judge(open_data(data, model.graph.input_specs, prune_pixels(net)), 0)
        clock = Clock()
        errors = {}
        for step in recover_steps(model.graph, cut, fit, judge, "match", track=clock):
            errors[step.name] = step.error
            if step.name == "refit":
                clock.start = time.perf_counter()
    return {
        "stages": errors,
        "steps": [number for number, _ in step.history],
        "errors": [error for _, error in step.history],
        "seconds": [clock.seconds[number - 1] for number, _ in step.history],
        "images": len(fit),
    }


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw the error left, as a share of what match began with, over minutes."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(5, 3), layout="constrained")
        panel = figure.subplots()
        for number, row in enumerate(rows):
            # The errors on the way are sums over calls, so that only their course counts: it ends where match does.
            scale = row["stages"]["match"] / min(row["errors"])
            minutes = [0.0, *(second / 60 for second in row["seconds"])]
            left = [1.0, *(scale * error / row["stages"]["refit"] for error in row["errors"])]
            panel.plot(minutes, left, marker="o", markersize=3, color=f"C{number}", label=row["net"], gid=row["net"])
        panel.axhline(1.0, color="0.7", linewidth=0.8)
        panel.set_xlabel("minutes of match")
        panel.set_ylabel("error of the outputs, refit = 1")
        panel.legend()
        figure.savefig(path, format="svg", metadata={"Date": None})


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows."""
    lines = [
        (
            row["net"],
            f"{100 * row['macs']:g} %",
            str(row["images"]),
            *(f"{row['stages'][name]:.3f}" for name in ("fold", "refit", "match")),
            f"{row['seconds'][-1] / 60:.1f}",
            str(row["threads"]),
        )
        for row in rows
    ]
    head = ("net", "MACs left", "images", "fold", "refit", "match", "minutes of match", "threads")
    return (
        "# What match gains over time\n\n"
        "Written by `python -m benchmarks.matching`: the squared error of the outputs on\n"
        "samples that nothing was fitted to, as a share of their squares, after each stage.\n\n"
        "![Error of the outputs over minutes of match](matching.svg)\n\n" + table(head, lines)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the plot and the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--nets", type=lambda text: text.split(","), default=["cifar10_resnet20", LITE])
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    limit_threads(options.threads)
    known = Rows(options.rows or options.cache / "matching.jsonl", KEY)
    known.mend()
    for name, net in opened(options, open_net):
        key = {"net": name, "macs": options.macs, "threads": options.threads}
        if known.key(key) not in known.done():
            fill(known, [{**key, **measured(net, options.macs)}])
    if options.plot is not None:
        plot(known.read(), options.plot)
    if options.page is not None:
        options.page.write_text(page(known.read()), encoding="utf-8")


if __name__ == "__main__":
    main()
