"""Equal latency, measured: widths chosen by a latency table, by MACs, and by one ratio for all layers.

    python -m benchmarks.latency SHARED --cache FOLDER [--nets NAMES] [--share 0.6] [--threads 1] [--page FILE.md]

SHARED holds models/ and data/ of the CIFAR-10 nets and arch/ of the weightless ones, which get random weights and are
fed noise. For every net plans are made that take the same measured share of the original's latency:

* `table`: `--latency` with the width block of the machine;
* `table for MACs`, of a weightless net: the same, where a channel is worth its MACs, as no weights say anything;
* `MACs`: `--macs` with --round-to 1, the share of MACs searched for the latency;
* `l1 ratio`: l1 with one ratio for all groups and the width block of the machine, searched likewise.

Then each is timed five times beside the original, in turn, and what it keeps is compared: top-1 after refit on the test
images, or of a weightless net the MACs. Last, what half of the MACs takes. Leave the machine alone meanwhile. Rows go
to FOLDER/latency.jsonl, and only those that are missing are computed.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import onnxprune
from benchmarks.coverage import fill
from benchmarks.nets import PIXELS, write_sets
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from onnxprune import Budget, open_data
from onnxprune.analysis.analysis import Analysis, counts
from onnxprune.data import Dataset
from onnxprune.evaluation import evaluate
from onnxprune.importance.method import find_method
from onnxprune.latency.device import Device
from onnxprune.latency.measure import time_cuts
from onnxprune.pipeline.events import NULL_LISTENER
from onnxprune.pipeline.planning.latency import hold_latency, time_network, with_width_block
from onnxprune.pipeline.planning.plans import choose, plan_of_masks
from onnxprune.runtime import open_session
from onnxprune.selection.goal import Goal
from onnxprune.values.amount import read_amount
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.statistics import Scores

NETS = "cifar10_resnet56,cifar10_resnet20,tv_mobilenet_v2,tv_resnet50"
KEYS = ("machine", "net", "way", "share", "threads", "method")
HALF = 0.5
TIMES = 5
STEPS = 6
"""Halvings of the interval in which a budget is searched for a latency."""
NOISE_IMAGES = 32
Keep = Mapping[str, Any]


def opened(name: str, shared: Path, cache: Path) -> tuple[onnxprune.Model, Dataset, Dataset | None]:
    """Return a net, its calibration data, and test data where it was trained."""
    trained = shared / "models" / f"{name}.onnx"
    if trained.exists():
        write_sets(shared / "data" / "cifar10_jpeg.zip", cache, 50, 10)
        model = onnxprune.load(trained)
        specs = model.graph.input_specs
        data, test = (open_data(cache / f"{part}.npz", specs, PIXELS) for part in ("calibration", "test"))
        return model, data, test
    path = cache / f"{name}.onnx"
    if not path.exists():
        onnx.save(fill(onnx.load(shared / "arch" / f"{name}.ts17.onnx")), path)
    model = onnxprune.load(path)
    (spec,) = model.graph.input_specs
    shape = [size or 1 for size in spec.shape[1:]]
    noise = cache / f"noise-{'x'.join(map(str, shape))}.npz"
    if not noise.exists():
        rng = np.random.default_rng(0)
        np.savez(noise, x=rng.standard_normal((NOISE_IMAGES, *shape)).astype(np.float32))
    return model, open_data(noise, (spec,), Preprocess()), None


def scored(analysis: Analysis, data: Dataset, method: str) -> Scores:
    """Return scores with what widths follow from."""
    return onnxprune.score(analysis, onnxprune.collect(analysis, data, method), method)


def searched(limit: Callable[[Keep], bool], plan: Callable[[float], Keep]) -> Keep:
    """Return the plan of the largest share at which the limit holds."""
    low, high = 0.05, 1.0
    best = plan(low)
    for _ in range(STEPS):
        middle = (low + high) / 2
        found = plan(middle)
        if limit(found):
            low, best = middle, found
        else:
            high = middle
    return best


def worth_macs(analysis: Analysis, ranked: Scores) -> Scores:
    """Return scores by which a group's channels are worth the MACs that go with them."""
    curves = {
        group.name: np.array([analysis.costs.macs_at({group.name: count}) for count in range(group.size + 1)])
        for group in analysis.prunable
    }
    return replace(ranked, curves=curves)


def plans(
    model: onnxprune.Model,
    analysis: Analysis,
    data: Dataset,
    method: str,
    share: float,
    device: Device,
    *,
    trained: bool,
) -> dict[str, Keep]:
    """Return plans of the same measured latency, and one of half of the MACs, by the way they were found."""
    goal = Goal(Budget(latency=read_amount(share, {})), None, branches="never")
    timed, goal, timing = time_network(model, analysis, goal, None, device, NULL_LISTENER)
    ranked, settled = find_method(method), find_method(method).settle({})
    scores, plain = (
        scored(analysis, data, method),
        onnxprune.score(analysis, onnxprune.collect(analysis, None, "l1"), "l1"),
    )

    def held(worth: Scores) -> Keep:
        def again(other: Goal) -> Keep:
            return choose(timed, worth, other, ranked, settled)

        keep, _ = hold_latency(model, timed, goal, timing, again(goal), again, NULL_LISTENER)
        return keep

    def fits(keep: Keep) -> bool:
        whole, taken = time_cuts(model, analysis, [{}, keep], device)
        return taken <= share * whole

    def by_macs(left: float) -> Keep:
        return choose(analysis, scores, Goal(Budget(macs=left), 1), ranked, settled)

    block = with_width_block(Goal(Budget(), None), device, NULL_LISTENER)

    def by_ratio(left: float) -> Keep:
        other = Goal(Budget(ratio=1 - left), block.round_to, slow=block.slow)
        return choose(analysis, plain, other, find_method("l1"), find_method("l1").settle({}))

    half = Goal(Budget(macs=HALF), block.round_to, slow=block.slow, excluded=goal.excluded)
    return {
        "table": held(scores),
        **({} if trained else {"table for MACs": held(worth_macs(analysis, plain))}),
        "MACs": searched(fits, by_macs),
        "l1 ratio": searched(fits, by_ratio),
        "half": choose(analysis, scores, half, ranked, settled),
    }


def measured(
    model: onnxprune.Model, analysis: Analysis, keep: Keep, device: Device, data: Dataset, test: Dataset | None
) -> Row:
    """Return the shares of the latency in five timings and of the MACs; top-1 after refit where there are labels."""
    taken = [time_cuts(model, analysis, [{}, keep], device) for _ in range(TIMES)]
    row: Row = {
        "latencies": [round(cut / whole, 4) for whole, cut in taken],
        "macs": analysis.costs.macs_at(counts(keep)) / analysis.costs.whole,
        "params": analysis.params(keep) / analysis.params(),
    }
    if test is not None:
        cut, _ = onnxprune.apply(model, analysis, plan_of_masks(model, analysis, keep, "l1", {}))
        found = onnxprune.recover(model, cut, data)
        row["top1"] = 100 * evaluate(open_session(found.model, found.weights), test).top1
    return row


def main() -> None:
    """Measure, print, and write the page where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--nets", default=NETS)
    parser.add_argument("--share", type=float, default=0.6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--method", default="entropy")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    rows = Rows(options.cache / "latency.jsonl", KEYS)
    rows.mend()
    device = Device(options.threads)
    described = device.describe()
    machine = f"{described['processor']}, onnxruntime {described['onnxruntime']}"
    for net in options.nets.split(","):
        job = {
            "machine": machine,
            "net": net,
            "share": options.share,
            "threads": options.threads,
            "method": options.method,
        }
        if rows.key({**job, "way": "half"}) in rows.done():
            continue
        model, data, test = opened(net, options.shared, options.cache)
        analysis = onnxprune.inspect(model)
        found = plans(model, analysis, data, options.method, options.share, device, trained=test is not None)
        for way, keep in found.items():
            row = {**job, "way": way, **measured(model, analysis, keep, device, data, test)}
            rows.append(row)
            print(*row.values(), sep="  ", flush=True)
    if options.page is not None:
        options.page.write_text(page(rows.read()), encoding="utf-8")


def page(rows: list[Row]) -> str:
    """Return the page of some rows, by the machines that they were measured on."""
    text = (
        "# Equal latency\n\nWritten by `python -m benchmarks.latency`: ways to a share of the original's latency, "
        "measured five times\nin turn with it (median, and all five), and half of the MACs with widths in blocks. Top-1"
        " in percent after `refit`;\nthe nets without are weightless, and `table for MACs` chooses their widths for "
        "the MACs that they keep.\n"
    )
    head = ["net", "threads", "asked", "way", "latency left %", "five times", "MACs left %", "top-1"]
    for machine in dict.fromkeys(row["machine"] for row in rows):
        lines = [_line(row) for row in rows if row["machine"] == machine]
        text += f"\n## {machine}\n\n{table(head, lines)}"
    return text


def _line(row: Row) -> list[str]:
    half = row["way"] == "half"
    return [
        row["net"],
        str(row["threads"]),
        "-" if half else f"{100 * row['share']:.0f}",
        "50 % of the MACs" if half else row["way"],
        f"{100 * statistics.median(row['latencies']):.1f}",
        " ".join(f"{100 * each:.1f}" for each in row["latencies"]),
        f"{100 * row['macs']:.1f}",
        f"{row['top1']:.2f}" if "top1" in row else "-",
    ]


if __name__ == "__main__":
    main()
