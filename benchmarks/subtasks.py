"""What `--classes` is worth: top-1 among some of the classes, for criteria that know them and criteria that do not.

    python -m benchmarks.subtasks SHARED --cache FOLDER [--nets NAMES] [--counts 2,3,5] [--macs 0.5,0.3] [--draws 5]
                                  [--ways NAMES] [--rows FILE.jsonl] [--page FILE.md]

The CIFAR-10 nets need models/NAME.onnx and data/cifar10_jpeg.zip, and fashion_convnet, which is trained where it is
asked for the first time, data/fashion_mnist.npz and torch. Every draw has classes of its own and 50 training images of
each of the ten, as `benchmarks.recovery`. A blind way scores and recovers by all of them, as one would who
has the whole task; the others are given `--classes`. Both end with refit, widths are not rounded, and both are judged
on all test images of these classes, by the highest of their scores. A cell is a line of ROWS as soon as it is known,
and is not computed again.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks import command, nets
from benchmarks.nets import first_of_each
from benchmarks.recovery import Net, drawn
from benchmarks.recovery import open_net as open_pixels
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from onnxprune import Model, apply, collect, inspect, load, open_data, plan, prune, recover, score
from onnxprune.analysis.analysis import Analysis
from onnxprune.runtime import Session, open_session
from onnxprune.selection.budget import Budget
from onnxprune.values.accuracy import Z95
from onnxprune.values.preprocess import Preprocess

KEY = ("net", "classes", "macs", "way", "draw")
WAYS: Mapping[str, tuple[str, bool]] = {
    "blind l1": ("l1", False),
    "blind catro": ("catro", False),
    "blind reconstruction": ("reconstruction", False),
    "catro": ("catro", True),
    "class-aware": ("class-aware", True),
    "reconstruction": ("reconstruction", True),
    "fisher": ("fisher", True),
}
"""By name: the method, and whether it knows the classes."""

ORIGINAL = "none: the original"

BATCH, FEW = 250, 20

FASHION = "fashion_convnet"


def open_net(name: str, shared: Path, cache: Path) -> Net | None:
    """Return a net with its images made ready, or None where its files are not there."""
    if name != FASHION:
        return open_pixels(name, shared, cache)
    found = nets.open_net(name, shared, cache)
    return None if found is None else Net(found.name, found.model, found.calibration, found.test, {})


def class_names(net: Net) -> list[str]:
    """Return the names of all classes, in the order of the outputs."""
    with np.load(net.test) as test:
        return [str(name) for name in test["class_names"]]


def chosen(names: Sequence[str], count: int, draw: int) -> list[str]:
    """Return the classes of a draw, in the order of the outputs."""
    rows = np.random.default_rng((draw, count)).permutation(len(names))[:count]
    return [names[row] for row in sorted(rows)]


def few_of(source: Path, target: Path) -> None:
    """Write some test images of every class: with test images a run fits all others, and here it is not what judges."""
    with np.load(source) as data:
        x, y = first_of_each((data["x"], data["y"]), FEW * len(data["class_names"]))
        np.savez(target, x=x, y=y, class_names=data["class_names"])


def top1(session: Session, net: Net, names: Sequence[str], only: Sequence[str]) -> float:
    """Return top-1 among some classes on all their test images."""
    columns = [names.index(name) for name in only]
    with np.load(net.test) as data:
        mine = np.isin(data["y"], columns)
        test = {"x": data["x"][mine], "y": data["y"][mine], "class_names": data["class_names"]}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "test.npz", **test)
        images = open_data(Path(folder) / "test.npz", session.inputs, Preprocess(**net.pixels))
        found = [next(iter(session.run(batch.feeds).values())) for batch in images.batches(BATCH)]
    predicted = np.concatenate(found)[:, columns].argmax(axis=1)
    return float((np.asarray(columns)[predicted] == test["y"]).mean())


def rows_of(net: Net, options: argparse.Namespace, known: Rows) -> Iterator[Row]:
    """Yield the rows of a net that are not there yet."""
    done, model, names = known.done(), load(net.model), class_names(net)
    analysis, whole = inspect(model), open_session(model.proto, model.weights)

    @cache
    def before(draw: int, count: int) -> float:
        return top1(whole, net, names, chosen(names, count, draw))

    for draw in range(options.draws):
        for way in options.ways:
            subtasks = {count: chosen(names, count, draw) for count in options.counts}
            cell = {"net": net.name, "way": way, "draw": draw}
            todo = [
                (count, macs)
                for count in subtasks
                for macs in options.macs
                if known.key({**cell, "classes": count, "macs": macs}) not in done
            ]
            _, knows = WAYS[way]
            # What knows no classes is the same whatever these are.
            seen = [((), list(subtasks))] if not knows else [(subtasks[c], [c]) for c in subtasks]
            for only, counts in seen:
                wanted = [(count, macs) for count, macs in todo if count in counts]
                for macs, (session, left) in pruned(net, model, analysis, cell, only, {macs for _, macs in wanted}):
                    for count in (count for count, other in wanted if other == macs):
                        found = top1(session, net, names, subtasks[count])
                        about = {"only": subtasks[count], "before": before(draw, count), "top1": found, "left": left}
                        yield {**cell, "classes": count, "macs": macs, **about}


def pruned(
    net: Net, model: Model, analysis: Analysis, cell: Row, only: Sequence[str], budgets: Iterable[float]
) -> Iterator[tuple[float, tuple[Session, float]]]:
    """Yield by budget a pruned and recovered model, and the share of the multiply-adds that it has."""
    method, _ = WAYS[cell["way"]]
    budgets = sorted(budgets, reverse=True)
    if not budgets:
        return
    with tempfile.TemporaryDirectory() as folder:
        data, output, test = (Path(folder) / name for name in ("draw.npz", "out.onnx", "test.npz"))
        drawn(net, cell["draw"], data)
        few_of(net.test, test)
        settings: dict[str, Any] = {"round_to": 1, "recovery": "refit", "test": test}
        if only:
            for macs in budgets:
                left = prune(
                    net.model, data, method, macs=macs, classes=only, output=output, **settings, **net.pixels
                ).plan.reached["macs"]
                small = load(output)
                yield macs, (open_session(small.proto, small.weights), left)
            return
        images = open_data(data, model.graph.input_specs, Preprocess(**net.pixels))
        scores = score(analysis, collect(analysis, images, method), method)
        for macs in budgets:
            made = plan(model, analysis, scores, Budget(macs=macs), method, round_to=1)
            cut, made = apply(model, analysis, made)
            result = recover(model, cut, images, "refit")
            yield macs, (open_session(result.model, result.weights), made.reached["macs"])


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows: means over the draws, and the paired difference from the best blind way."""
    parts = [
        "# Some of the classes",
        "",
        "Written by `python -m benchmarks.subtasks`: top-1 in percent among drawn classes on all their test images,",
        "behind refit, from 50 images of each of ten classes. Blind ways know of no classes, the others are given",
        "`--classes`. Means over the draws, and that of the paired differences from the best blind way with its 95 %",
        "range; where a way has fewer draws than others of the net, how many.",
        "",
        "## On the average",
        "",
        "Paired differences over all drawn subtasks of all nets that both ways have, means with their 95 % ranges.",
        "What the original is above a blind way is the most that any way could gain.",
    ]
    for macs in sorted({row["macs"] for row in rows}, reverse=True):
        parts += [
            "",
            f"### {100 * macs:g} % of the MACs",
            "",
            _differences([row for row in rows if row["macs"] == macs]),
        ]
    kinds = dict.fromkeys((row["classes"], row["macs"]) for row in rows)
    for count, macs in sorted(kinds, key=lambda kind: (kind[0], -kind[1])):
        part = [row for row in rows if (row["classes"], row["macs"]) == (count, macs)]
        parts += ["", f"## {count} classes, {100 * macs:g} % of the MACs", "", _table(part)]
    return "\n".join(parts)


def _differences(rows: Sequence[Row]) -> str:
    """Return a table: the original and every way beside each of the blind ones."""
    found: dict[str, dict[tuple[str, int, int], float]] = {}
    for row in rows:
        key = row["net"], row["classes"], row["draw"]
        found.setdefault(row["way"], {})[key] = 100 * row["top1"]
        found.setdefault(ORIGINAL, {})[key] = 100 * row["before"]
    blind = [name for name, (_, knows) in WAYS.items() if not knows and name in found]
    lines = []
    for way in (name for name in (ORIGINAL, *WAYS) if name in found):
        pairs = {
            name: [top1 - found[name][key] for key, top1 in found[way].items() if key in found[name]] for name in blind
        }
        lines.append((way, str(len(found[way])), *("" if name == way else _mean_of(pairs[name]) for name in blind)))
    return table(("way", "subtasks", *(f"from {name}" for name in blind)), lines)


def _mean_of(pairs: Sequence[float]) -> str:
    if len(pairs) < 2:
        return ""
    return f"{mean(pairs):+.2f} ± {Z95 * stdev(pairs) / len(pairs) ** 0.5:.2f}"


def _table(rows: Sequence[Row]) -> str:
    nets = list(dict.fromkeys(row["net"] for row in rows))
    ways = [way for way in WAYS if any(row["way"] == way for row in rows)]
    lines = [(ORIGINAL, *(f"{100 * mean(_of(rows, net, 'before')):.1f}" for net in nets))]
    lines += [(way, *(_cell(rows, net, way) for net in nets)) for way in ways]
    return table(("way", *nets), lines)


def _of(rows: Sequence[Row], net: str, field: str) -> list[float]:
    return [row[field] for row in rows if row["net"] == net]


def _by_draw(rows: Sequence[Row], net: str, way: str) -> dict[int, float]:
    return {row["draw"]: row["top1"] for row in rows if row["net"] == net and row["way"] == way}


def _cell(rows: Sequence[Row], net: str, way: str) -> str:
    found = _by_draw(rows, net, way)
    if not found:
        return ""
    blind = {name: _by_draw(rows, net, name) for name, (_, knows) in WAYS.items() if not knows}
    most = max(map(len, blind.values()))  # a way that has fewer draws is compared with, but is not the best
    whole = [name for name in blind if blind[name] and len(blind[name]) == most]
    best = max(whole, key=lambda name: mean(blind[name].values()), default=None)
    every = {row["draw"] for row in rows if row["net"] == net}
    said = f"{100 * mean(found.values()):.1f}"
    if len(found) < len(every):
        said += f" of {len(found)} draw{'s' * (len(found) > 1)}"
    if best is None or best == way:
        return said
    pairs = [100 * (found[draw] - blind[best][draw]) for draw in found if draw in blind[best]]
    if len(pairs) < 2:
        return said
    return f"{said} ({mean(pairs):+.1f} ± {Z95 * stdev(pairs) / len(pairs) ** 0.5:.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = command.parser(__doc__, ["cifar10_resnet20", "cifar10_resnet56", FASHION], draws=5)
    parser.add_argument("--counts", type=command.counts, default=[2, 3, 5])
    parser.add_argument("--macs", type=command.numbers, default=[0.5, 0.3])
    parser.add_argument("--ways", type=command.names, default=list(WAYS))
    options = parser.parse_args(arguments)
    command.run(options, Rows(options.rows or options.cache / "subtasks.jsonl", KEY), open_net, rows_of, page)


if __name__ == "__main__":
    main()
