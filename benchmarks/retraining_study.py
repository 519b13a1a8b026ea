"""What to retrain: the whole network, a part of it, or nothing, after pruning by each of the three methods.

    python -m benchmarks.retraining_study SHARED --cache FOLDER [--nets NAMES] [--methods NAMES] [--macs 50%]
        [--epochs N] [--images N] [--device cpu] [--threads N] [--page FILE.md]

SHARED holds models/cifar10_resnet20_bn.onnx, models/cifar10_resnet56_bn.onnx and data/cifar10_jpeg.zip. Each net is cut
to a share of its MACs by 500 training images, without recovery and with `refit`, and then each part is trained on the
labels by onnxprune's own recipe, as in the study of Narkhede et al. 2024. Top-1 on all test images; `none` is without
training. Rows go to FOLDER/retraining_study.jsonl, and only those that are missing are computed.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

import onnxprune
from benchmarks.nets import PIXELS, write_sets
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from onnxprune.data import open_data, split
from onnxprune.evaluation import evaluate
from onnxprune.finetune.training.processes import Processes, find_device
from onnxprune.finetune.training.recipe import Part, Recipe
from onnxprune.pipeline.execution.training import tune
from onnxprune.runtime import open_session

NETS = "cifar10_resnet20_bn,cifar10_resnet56_bn"
METHODS = "entropy,catro,class-aware"
CALIBRATION = 50
PARTS: tuple[Part, ...] = ("none", "norm", "fc", "tail", "full")
KEYS = ("net", "method", "recovery", "macs", "epochs", "images", "part")


def study(rows: Rows, unit: Row, model: Path, folder: Path, recipe: Recipe, device: str) -> None:
    """Append what is missing of a method: top-1 in percent without training, and after training each part."""
    done = rows.done()
    todo = [part for part in PARTS if rows.key({**unit, "part": part}) not in done]
    if not todo:
        return
    with tempfile.TemporaryDirectory() as place:
        small = Path(place) / "small.onnx"
        onnxprune.prune(
            model, folder / "calibration.npz", unit["method"], macs=unit["macs"], round_to=1, output=small,
            preprocess=PIXELS, recovery=unit["recovery"], check_accuracy=False,
        )  # fmt: skip
        graph = onnxprune.load(small).graph
    train = open_data(folder / "train.npz", graph.input_specs, PIXELS)
    test = open_data(folder / "test.npz", graph.input_specs, PIXELS)
    training, validation = split(train, 0.1, 0)

    for part in todo:
        proto, weights = graph.model, graph.weights
        if part != "none":
            mine = replace(recipe, part=part)
            _, proto, weights = tune(graph, training, validation, None, mine, Processes(0, 1, find_device(device)))
        top1 = 100 * evaluate(open_session(proto, weights), test).top1
        row = {**unit, "part": part, "top1": top1}
        rows.append(row)
        print(*row.values(), sep="  ", flush=True)


def page(rows: Sequence[Row], units: Sequence[Row], tested: int) -> str:
    """Return the page of some units, all of the same MACs, epochs and images."""
    first = units[0]
    text = (
        "# What to retrain\n\nWritten by `python -m benchmarks.retraining_study`: top-1 in percent on "
        f"{tested} test images\nat {100 * first['macs']:g} % of the MACs, after {first['epochs']} epochs on "
        f"{first['images']} training images (a tenth of them chooses the epoch),\n"
        "by the recipe of `onnxprune finetune --augment crop,flip`.\n"
    )
    known = {tuple(row[name] for name in KEYS): row["top1"] for row in rows}
    for net in dict.fromkeys(unit["net"] for unit in units):
        lines = [
            [unit["method"], unit["recovery"]]
            + [f"{known[(*(unit[name] for name in KEYS[:-1]), part)]:.2f}" for part in PARTS]
            for unit in units
            if unit["net"] == net
        ]
        text += f"\n## {net}\n\n{table(['method', 'recovery', *PARTS], lines)}"
    return text


def main() -> None:
    """Measure, print, and write the page where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--nets", default=NETS)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--recover", default="none,refit")
    parser.add_argument("--macs", default="50%")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=50_000, help="training images, as many of each class")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    macs = float(options.macs.rstrip("%")) / 100
    recipe = Recipe(epochs=options.epochs, augment=("crop", "flip"))
    archive = options.shared / "data" / "cifar10_jpeg.zip"
    sets = write_sets(archive, options.cache, CALIBRATION, options.images)
    rows = Rows(options.cache / "retraining_study.jsonl", KEYS)
    rows.mend()
    shared = {"macs": macs, "epochs": options.epochs, "images": len(sets["train"][1])}
    units = [
        {"net": net, "method": method, "recovery": recovery, **shared}
        for net in options.nets.split(",")
        for method in options.methods.split(",")
        for recovery in options.recover.split(",")
    ]
    for unit in units:
        study(rows, unit, options.shared / "models" / f"{unit['net']}.onnx", options.cache, recipe, options.device)
    if options.page is not None:
        options.page.write_text(page(rows.read(), units, len(sets["test"][1])), encoding="utf-8")


if __name__ == "__main__":
    main()
