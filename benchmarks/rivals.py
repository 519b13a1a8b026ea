"""What tools make of the same weights and images without labels: onnxsim, Torch-Pruning and onnxprune, top-1 and MACs.

    python -m benchmarks.rivals SHARED --cache FOLDER [--nets NAMES] [--budgets 0.7,0.5] [--draws 1]
                                [--only onnxsim,torch-pruning,onnxprune] [--test-images N] [--rows FILE.jsonl]
                                [--page FILE.md]

Nets, calibration images of a draw and test images are those of `benchmarks.recovery`, which says what they need. Every
MACs figure is what `onnxprune.inspect` counts in the ONNX file that a tool gives back, and its top-1 is measured as in
`benchmarks.images`.

onnxsim: structured pruning (L2) and its Wanda form, each with one ratio for all layers and with one ranking of all
channels (`global`), at the ratio that comes nearest to the budget in `TRIES` halvings; then as it is, after
`apply_pruning_finetune`, and after `apply_block_finetune_all_blocks`, all settings at their defaults.

Torch-Pruning: group L2 norm, global, inner channels (it cannot cut residual widths of option A), in small steps to the
one that comes nearest to the budget, of the net with its batch normalisations in models/NAME_bn.onnx; as it is, and
with their statistics estimated anew on the calibration images. A net without such a file has no rows of it.

onnxprune: `reconstruction` with widths that are not rounded, recovered in each of `RECOVERIES`; match takes torch.

A tool that is not installed is left out (`pip install onnxsim==0.8.1`, `pip install --no-deps torch-pruning==1.6.1`
beside torch). What fails is a row with its error. Every row is a line of ROWS as soon as it is known, and is not
computed again. onnxsim runs on as many threads as it finds: pin the process where that matters.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks import command
from benchmarks.images import hits, prune_pixels
from benchmarks.nets import LITE
from benchmarks.recovery import Net, drawn, open_net, spread
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from onnxprune import __version__, inspect, load, open_data, prune

KEY = ("net", "macs", "way", "draw", "images")
ORIGINAL = "original"
TOOLS = ("onnxsim", "torch-pruning", "onnxprune")
RECOVERIES = ("fold", "refit", "match")
DRAW = "draw.npz"
TRIES = 8
BATCH = 100

PRUNINGS: Mapping[str, tuple[bool, bool]] = {
    "structured": (False, False),
    "structured, global": (False, True),
    "Wanda": (True, False),
    "Wanda, global": (True, True),
}
"""Prunings of onnxsim: whether they go by activations, and whether they rank the channels of all layers together."""

Feeds = list[dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class Made:
    """A file that a tool wrote, the ratio it was asked for, the seconds of that call, and what else is to be said."""

    path: Path
    ratio: float | None
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Job:
    """A net with a draw of calibration images as it is fed, a budget, and a folder to write to."""

    net: Net
    macs: float
    feeds: Feeds
    folder: Path
    whole: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "whole", macs_of(self.net.model))

    def nearest(self, cut: Callable[[float], onnx.ModelProto], name: str) -> Made:
        """Return what comes nearest to the budget, by halving the range of ratios."""
        low, high, best, error = 0.0, 1.0, None, 2.0
        for turn in range(TRIES):
            ratio = (low + high) / 2
            start = time.perf_counter()
            model = cut(ratio)
            seconds = time.perf_counter() - start
            path = self.folder / f"{name}-{turn}.onnx"
            onnx.save(model, path)
            left = macs_of(path) / self.whole
            if abs(left - self.macs) < error:
                best, error = Made(path, ratio, seconds), abs(left - self.macs)
            low, high = (ratio, high) if left > self.macs else (low, ratio)
        assert best is not None
        return best


Ways = dict[str, Callable[[], Made]]


def macs_of(path: Path) -> float:
    """Return the MACs of a file."""
    return float(inspect(load(path)).macs())


def fed(net: Net, draw: int, folder: Path) -> Feeds:
    """Return a draw of calibration images as a session takes them, in batches."""
    path = folder / DRAW
    drawn(net, draw, path)
    data = open_data(path, load(net.model).graph.input_specs, prune_pixels(net))
    return [{name: np.asarray(value) for name, value in batch.feeds.items()} for batch in data.batches(BATCH)]


def fewer(net: Net, count: int, folder: Path) -> tuple[Net, int]:
    """Return the net with `count` of its test images, evenly spaced (0: all), and how many they are."""
    with np.load(net.test) as data:
        arrays = dict(data)
    total = len(arrays["y"])
    if not 0 < count < total:
        return net, total
    rows = np.linspace(0, total, count, endpoint=False).astype(np.int64)
    path = folder / f"{net.name}-test.npz"
    np.savez(path, **{name: value[rows] if name in ("x", "y") else value for name, value in arrays.items()})
    return replace(net, test=path), count


def by_onnxsim(job: Job) -> Ways:
    """Return the ways of onnxsim: each pruning as it is and with each of its recoveries."""
    onnxsim = import_module("onnxsim")
    original = onnx.load(job.net.model)

    def pruned(name: str) -> Made:
        activations, pooled = PRUNINGS[name]
        function = onnxsim.apply_structured_wanda_pruning if activations else onnxsim.apply_structured_pruning
        given: dict[str, Any] = {"calibration_data": job.feeds} if activations else {}
        return job.nearest(lambda ratio: function(original, sparsity=ratio, global_sparsity=pooled, **given), name)

    def tuned(before: Callable[[], Made], recovery: str) -> Made:
        made = before()
        model = onnx.load(made.path)
        start = time.perf_counter()
        if recovery == "finetune":
            result, note = onnxsim.apply_pruning_finetune(original, model, calibration_data=job.feeds), ""
        else:
            result, blocks = onnxsim.apply_block_finetune_all_blocks(original, model, calibration_data=job.feeds)
            note = _blocks(blocks)
        seconds = made.seconds + time.perf_counter() - start
        path = made.path.with_suffix(f".{recovery}.onnx")
        onnx.save(result, path)
        return Made(path, made.ratio, seconds, "; ".join(filter(None, (_changed(model, result), note))))

    ways: Ways = {}
    for name in PRUNINGS:
        first = cache(partial(pruned, name))
        ways[f"onnxsim, {name}"] = first
        for recovery in ("finetune", "block finetune"):
            ways[f"onnxsim, {name} + {recovery}"] = partial(tuned, first, recovery)
    return ways


def _blocks(blocks: Sequence[Any]) -> str:
    """Say how many blocks were trained, and why the first of the others was not."""
    text = f"{sum(block.trained for block in blocks)} of {len(blocks)} blocks trained"
    reasons = [str(block.skipped_reason) for block in blocks if not block.trained]
    return f"{text}, the first of the others: {reasons[0]}" if reasons else text


def _changed(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """Say how many weights a recovery changed."""
    old = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in before.graph.initializer}
    new = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in after.graph.initializer}
    count = sum(not np.array_equal(value, old[name]) for name, value in new.items() if name in old)
    return f"{count} of {len(old)} tensors changed"


def by_torch_pruning(job: Job, source: Path) -> Ways:
    """Return the ways of Torch-Pruning: cut, and with the statistics of normalisations estimated anew."""
    import torch

    from benchmarks.torch_resnet import load_resnet

    tp = import_module("torch_pruning")

    @cache
    def cut() -> tuple[Any, float]:
        start = time.perf_counter()
        net = load_resnet(source).eval()
        example = torch.zeros(1, 3, 32, 32)
        stages = (net.layer1, net.layer2, net.layer3)
        outer = [net.conv1, net.linear, *(block.get_submodule("conv2") for stage in stages for block in stage)]
        pruner = tp.pruner.MagnitudePruner(
            net,
            example,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            global_pruning=True,
            pruning_ratio=0.95,
            iterative_steps=400,
            ignored_layers=outer,
        )
        wanted = job.macs * _torch_macs(net)
        before, more, left = net, np.inf, _torch_macs(net)
        while left > wanted:
            before, more = deepcopy(net), left
            pruner.step()
            left = _torch_macs(net)
        return (net if wanted - left <= more - wanted else before), time.perf_counter() - start

    def made(*, anew: bool) -> Made:
        net, seconds = cut()
        start = time.perf_counter()
        if anew:
            for layer in net.modules():
                if isinstance(layer, torch.nn.BatchNorm2d):
                    layer.reset_running_stats()
                    layer.momentum = 1.0  # one batch of all images is what is kept
            (images,) = (np.concatenate(parts) for parts in zip(*(feed.values() for feed in job.feeds), strict=True))
            with torch.no_grad():
                net.train()(torch.from_numpy(images))
        seconds += time.perf_counter() - start
        path = job.folder / f"torch-pruning-{anew}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the TorchScript exporter announces its successor
            axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
            torch.onnx.export(
                net.eval(), (torch.zeros(1, 3, 32, 32),), str(path), dynamo=False, opset_version=17,
                dynamic_axes=axes, input_names=["image"], output_names=["logits"],
            )  # fmt: skip
        return Made(path, None, seconds)

    # In this order: what is estimated anew takes the place of the statistics in the one net that is cut.
    return {
        "Torch-Pruning": partial(made, anew=False),
        "Torch-Pruning + statistics": partial(made, anew=True),
    }


def _torch_macs(net: Any) -> float:
    """Return the MACs of the convolutions and products of a net for CIFAR images, as `onnxprune` counts them."""
    import torch

    found = []

    def count(layer: Any, _: Any, output: Any) -> None:
        places = output[0, 0].numel() if isinstance(layer, torch.nn.Conv2d) else 1
        found.append(layer.weight.numel() * places)

    hooks = [
        layer.register_forward_hook(count)
        for layer in net.modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    ]
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return float(sum(found))


def by_onnxprune(job: Job) -> Ways:
    """Return the ways of this project: its recoveries."""

    def made(recovery: str) -> Made:
        path = job.folder / f"onnxprune-{recovery}.onnx"
        settings = {"macs": job.macs, "round_to": 1, "recovery": recovery, "output": path, **job.net.pixels}
        start = time.perf_counter()
        prune(job.net.model, job.folder / DRAW, "reconstruction", test=job.net.test, **settings)
        return Made(path, None, time.perf_counter() - start)

    return {f"onnxprune, {recovery}": partial(made, recovery) for recovery in RECOVERIES}


def _version(name: str) -> str:
    """Return the version of a package, this one's also where it runs from a clone."""
    return __version__ if name == "onnxprune" else version(name)


def installed(name: str) -> bool:
    """Return whether a package is there, and say so where it is not."""
    try:
        _version(name)
    except PackageNotFoundError:
        print(f"{name} is not installed; its rows are left out.", file=sys.stderr)
        return False
    return True


def ways_of(job: Job, shared: Path, tools: Sequence[str]) -> Ways:
    """Return all ways there are for a net, by name."""
    ways: Ways = {}
    if "onnxsim" in tools:
        ways |= by_onnxsim(job)
    source = shared / "models" / f"{job.net.name}_bn.onnx"
    if "torch-pruning" in tools and source.exists():
        ways |= by_torch_pruning(job, source)
    elif "torch-pruning" in tools:
        print(f"{job.net.name} has no torch module; it has no rows of Torch-Pruning.", file=sys.stderr)
    if "onnxprune" in tools:
        ways |= by_onnxprune(job)
    return ways


def measured(job: Job, make: Callable[[], Made]) -> Row:
    """Return what a way gives, or the error that it ended with."""
    try:
        made = make()
        left = macs_of(made.path) / job.whole
        top1 = float(hits(made.path, job.net).mean())
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return {"ratio": None, "left": None, "top1": None, "seconds": None, "note": text[:500]}
    return {"ratio": made.ratio, "left": left, "top1": top1, "seconds": made.seconds, "note": made.note}


def rows_of(net: Net, options: argparse.Namespace, known: Rows, tools: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a net that are not there yet."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        net, images = fewer(net, options.test_images, folder)
        whole = {"net": net.name, "macs": 1.0, "way": ORIGINAL, "draw": 0, "images": images}
        if known.key(whole) not in known.done():
            top1 = float(hits(net.model, net).mean())
            yield {**whole, "tool": "", "ratio": None, "left": 1.0, "top1": top1, "seconds": 0.0, "note": ""}
        for draw in range(options.draws):
            feeds = fed(net, draw, folder)
            for macs in options.budgets:
                job = Job(net, macs, feeds, folder)
                done = known.done()
                for way, make in ways_of(job, options.shared, tools).items():
                    key = {"net": net.name, "macs": macs, "way": way, "draw": draw, "images": images}
                    if known.key(key) not in done:
                        yield {**key, "tool": _tool(way), **measured(job, make)}


def _tool(way: str) -> str:
    """Return the tool of a way, with its version."""
    name = next(name for name in TOOLS if way.lower().startswith(name))
    return f"{name} {_version(name)}"


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows: means over the draws, and their ranges."""
    lines = []
    kinds = ("net", "images", "macs", "way")
    for kind in dict.fromkeys(tuple(row[name] for name in kinds) for row in rows):
        net, images, macs, way = kind
        same = [row for row in rows if tuple(row[name] for name in kinds) == kind]
        good = [row for row in same if row["top1"] is not None]
        ratios = [row["ratio"] for row in good if row["ratio"] is not None]
        lines.append((
            net,
            str(images),
            f"{100 * macs:g}",
            way,
            f"{mean(ratios):.3f}" if ratios else "",
            spread([row["left"] for row in good]),
            spread([row["top1"] for row in good]),
            str(len(same)),
            f"{mean(row['seconds'] for row in good):.1f}" if good else "",
            "; ".join(dict.fromkeys(_cell(row["note"]) for row in same if row["note"])),
        ))  # fmt: skip
    head = ("net", "test images", "MACs wanted %", "way", "ratio", "MACs left %", "top-1", "draws", "seconds", "note")
    worst = min((row["images"] for row in rows), default=1)
    tools = sorted({row["tool"] for row in rows if row["tool"]})
    return (
        "# Rivals on the same weights and images\n\n"
        f"Written by `python -m benchmarks.rivals`: {', '.join(tools)}.\n"
        "No label is used; calibration images as in `benchmarks.recovery`, MACs as `onnxprune` counts them, top-1 in\n"
        "percent (means over the draws, with the range). Where not all test images are taken they are evenly spaced\n"
        f"among all; a top-1 of 50 % on {worst} of them has a standard error of {50 / worst**0.5:.1f} points. Seconds "
        "are of\nthe calls that made the file, without the search for the ratio.\n\n" + table(head, lines)
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = command.parser(__doc__, [LITE, "cifar10_resnet56", "cifar10_resnet20"], draws=1, threads=1)
    parser.add_argument("--budgets", type=command.numbers, default=[0.7, 0.5])
    parser.add_argument("--only", type=command.names, default=list(TOOLS))
    parser.add_argument("--test-images", type=int, default=0, help="how many, evenly spaced (0: all)")
    options = parser.parse_args(arguments)
    tools = [name for name in TOOLS if name in options.only and installed(name)]
    known = Rows(options.rows or options.cache / "rivals.jsonl", KEY)
    command.run(options, known, open_net, partial(rows_of, tools=tools), page)


if __name__ == "__main__":
    main()
