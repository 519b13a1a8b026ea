"""Pruned by onnxprune and by Torch-Pruning: same weights, same budget, same training, same test images.

    python -m benchmarks.vs_torch_pruning SHARED --cache FOLDER [--net cifar10_resnet20_bn] [--macs 50%] [--epochs 1,3]
        [--methods NAMES] [--teach] [--images N] [--device cpu] [--threads N] [--page FILE.md]

SHARED holds models/cifar10_resnet20_bn.onnx (or resnet56) and data/cifar10_jpeg.zip. Both begin with the weights of
that file: onnxprune with the file and 500 training images, for scores, recovery and the statistics of normalisations
(which `onnxprune finetune` brings up to date before it trains, the outputs being as they were); Torch-Pruning (group
L1, global, inner channels, as it cannot cut residual widths of option A) with the same net as a torch module.

Both are then trained by the very same loop: cross-entropy, SGD with Nesterov momentum, a one-cycle rate up to 0.02,
batches of 128, shifted and mirrored images, seed 0. With `--teach` there is a second row of each that also learns the
original's answers. Every number of epochs is a run of its own. Top-1 on all test images.

Rows go to FOLDER/vs_torch_pruning.jsonl, and only those that are missing are computed; the page has all of the net and
the images. Torch-Pruning is needed for its rows alone (`pip install --no-deps torch-pruning`); without it they are left
out.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import nn

import onnxprune
from benchmarks.nets import PIXELS, write_sets
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from benchmarks.torch_resnet import ResNet, load_resnet
from benchmarks.torch_training import SEED, Set, Training, accuracy, scaled, trained
from onnxprune.finetune.interpreter.module import GraphModule
from onnxprune.finetune.training.recentre import recentre

METHODS = "entropy,catro,class-aware,reconstruction"
OTHER = "Torch-Pruning, group L1"
CALIBRATION = 50
RATE = 0.02
KEYS = ("net", "macs", "images", "way", "teach", "epochs")

Made = tuple[nn.Module, float]
"""A pruned net, and the share of the MACs that it has left."""


def by_onnxprune(path: Path, data: Path, method: str, macs: float) -> Made:
    """Return the pruned and recovered net, ready to be trained as `onnxprune finetune` does, and what it has left."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.onnx"
        result = onnxprune.prune(
            path, data, method, macs=macs, round_to=1, check_accuracy=False, output=small, preprocess=PIXELS
        )
        assert result.after is not None
        graph = onnxprune.load(small).graph
        module = GraphModule(graph)
        with np.load(data) as found:
            images = torch.from_numpy(found["x"]).permute(0, 3, 1, 2).float()
        recentre(graph, module, [[scaled(images)]])
        return module, result.after.macs / result.before.macs


def by_torch_pruning(path: Path, macs: float) -> tuple[ResNet, float]:
    """Return the net as Torch-Pruning cuts it (its own file, in small steps until the budget holds)."""
    import torch_pruning as tp

    net = load_resnet(path).eval()
    example = torch.zeros(1, 3, 32, 32)
    whole, _ = tp.utils.count_ops_and_params(net, example)
    outer = [net.conv1, net.linear, *(block.conv2 for stage in (net.layer1, net.layer2, net.layer3) for block in stage)]
    pruner = tp.pruner.MagnitudePruner(
        net,
        example,
        importance=tp.importance.GroupNormImportance(p=1) if hasattr(tp.importance, "GroupNormImportance")
        else tp.importance.MagnitudeImportance(p=1),
        global_pruning=True,
        pruning_ratio=0.95,
        iterative_steps=400,
        ignored_layers=outer,
    )  # fmt: skip
    left = whole
    while left > macs * whole:
        pruner.step()
        left, _ = tp.utils.count_ops_and_params(net, example)
    return net, left / whole


def measure(
    rows: Rows,
    unit: Row,
    make: Callable[[], Made],
    train: Set,
    test: Set,
    cells: Sequence[tuple[nn.Module | None, int]],
    device: torch.device,
) -> None:
    """Append the rows of one way of pruning that are missing, of each cell: a teacher and epochs."""
    done = rows.done()
    made: Made | None = None
    for teacher, count in cells:
        cell = {**unit, "teach": teacher is not None, "epochs": count}
        if rows.key(cell) in done:
            continue
        made = made or make()
        net = deepcopy(made[0]).to(device)
        if count:
            net = trained(net, train, Training(count, RATE, device, teacher))
        row = {**cell, "left": made[1], "top1": accuracy(net, test, device), "device": device.type}
        rows.append(row)
        print(*row.values(), sep="  ", flush=True)


def page(rows: Sequence[Row], net: str, images: int, tested: int) -> str:
    """Return the page of a net."""
    found = [row for row in rows if row["net"] == net and row["images"] == images]
    before = next(row["top1"] for row in found if row["way"] == "original")
    epochs = sorted({row["epochs"] for row in found if row["epochs"]})
    cells = {(row["way"], row["teach"], row["epochs"]): row for row in found}
    lines = []
    for way, teach in dict.fromkeys((row["way"], row["teach"]) for row in found if row["way"] != "original"):
        first = cells.get((way, False, 0))
        if first is None or (teach and not any((way, True, count) in cells for count in epochs)):
            continue
        after = [cells.get((way, teach, count)) for count in epochs]
        lines.append(
            [
                f"{way}{' + teacher' * teach}",
                f"{100 * first['left']:.1f}",
                f"{first['top1']:.2f}",
                *("" if row is None else f"{row['top1']:.2f}" for row in after),
            ]
        )
    device = "CPU" if all(row["device"] == "cpu" for row in found) else "GPU"
    head = ["", "MACs left %", "without training", *(f"{count} epoch{'s' * (count > 1)}" for count in epochs)]
    return (
        f"# Beside Torch-Pruning\n\nWritten by `python -m benchmarks.vs_torch_pruning --net {net}`.\n"
        f"Top-1 in percent on {tested} test images, {before:.2f} before; trained on {images} images, "
        f"{device}, seed {SEED}.\nBoth begin with the same weights and are trained by the same loop.\n\n"
        + table(head, sorted(lines, key=lambda line: line[0].startswith(OTHER)))
    )


def has_torch_pruning() -> bool:
    """Return whether Torch-Pruning can be imported."""
    try:
        import torch_pruning  # noqa: F401
    except ImportError:
        return False
    return True


def main() -> None:
    """Measure, print, and write the page where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--net", default="cifar10_resnet20_bn")
    parser.add_argument("--macs", default="50%")
    parser.add_argument("--epochs", default="1,3")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--only", choices=("onnxprune", "torch-pruning"), help="leave the other one out")
    parser.add_argument("--teach", action="store_true")
    parser.add_argument("--images", type=int, default=50_000, help="training images, as many of each class")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    epochs = [int(count) for count in options.epochs.split(",")]
    macs = float(options.macs.rstrip("%")) / 100
    path = options.shared / "models" / f"{options.net}.onnx"
    archive = options.shared / "data" / "cifar10_jpeg.zip"
    sets = write_sets(archive, options.cache, CALIBRATION, options.images)
    train, test, data = sets["train"], sets["test"], options.cache / "calibration.npz"
    teacher = GraphModule(onnxprune.load(path).graph).to(device).eval()
    ways: dict[str, Callable[[], Made]] = {}
    if options.only != "torch-pruning":
        for method in options.methods.split(","):
            ways[f"onnxprune, {method}"] = partial(by_onnxprune, path, data, method, macs)
    if options.only != "onnxprune":
        if has_torch_pruning():
            ways[OTHER] = partial(by_torch_pruning, path, macs)
        else:
            print("Torch-Pruning is not installed; its rows are left out.")
    rows = Rows(options.cache / "vs_torch_pruning.jsonl", KEYS)
    rows.mend()
    what = {"net": options.net, "images": options.images}
    whole = {**what, "way": "original", "teach": False, "epochs": 0}
    if rows.key(whole) not in rows.done():
        rows.append({**whole, "top1": accuracy(teacher, test, device), "device": device.type})
    cells = [(None, 0), *product([None, *([teacher] if options.teach else [])], epochs)]
    for way, make in ways.items():
        unit = {**what, "macs": macs, "way": way}
        measure(rows, unit, make, train, test, cells, device)
    if options.page is not None:
        options.page.write_text(page(rows.read(), options.net, options.images, len(test[1])), encoding="utf-8")


if __name__ == "__main__":
    main()
