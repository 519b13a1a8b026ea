"""What to retrain: the whole network, a part of it, or nothing, after pruning by each of the three methods.

    python -m benchmarks.retraining_study SHARED --cache FOLDER [--nets NAMES] [--methods NAMES] [--macs 50%]
        [--epochs N] [--images N] [--device cpu] [--page FILE.md]

SHARED holds models/cifar10_resnet20_bn.onnx, models/cifar10_resnet56_bn.onnx and data/cifar10_jpeg.zip. Each net is cut
to a share of its MACs by 500 training images, without recovery and with `refit`, and then each part is trained on the
labels by onnxprune's own recipe, as in the study of Narkhede et al. 2024. Top-1 on all test images; `none` is without
training.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import onnxprune
from benchmarks.nets import PIXELS, write_sets
from benchmarks.tables import table
from onnxprune.data import open_data, split
from onnxprune.evaluation import evaluate
from onnxprune.finetune.training.part import PARTS
from onnxprune.finetune.training.processes import Processes, find_device
from onnxprune.finetune.training.recipe import Recipe
from onnxprune.pipeline.finetuning import tune
from onnxprune.runtime import open_session

NETS = "cifar10_resnet20_bn,cifar10_resnet56_bn"
METHODS = "entropy,catro,class-aware"
CALIBRATION = 50


def study(model: Path, folder: Path, method: str, recovery: str, macs: float, recipe: Recipe, device: str) -> list[str]:
    """Return the row of a method: top-1 in percent without training, and after training each part."""
    with tempfile.TemporaryDirectory() as place:
        small = Path(place) / "small.onnx"
        onnxprune.prune(
            model, folder / "calibration.npz", method, macs=macs, round_to=1, output=small, preprocess=PIXELS,
            recovery=recovery, check_accuracy=False,
        )  # fmt: skip
        graph = onnxprune.load(small).graph
    train = open_data(folder / "train.npz", graph.input_specs, PIXELS)
    test = open_data(folder / "test.npz", graph.input_specs, PIXELS)
    training, validation = split(train, 0.1, 0)

    def top1(proto: Any, weights: Any) -> str:
        return f"{100 * evaluate(open_session(proto, weights), test).top1:.2f}"

    found = [top1(graph.model, graph.weights)]
    for part in _parts():
        mine = Recipe(**{**vars(recipe), "part": part})
        _, *trained = tune(graph, training, validation, None, mine, Processes(0, 1, find_device(device)))
        found.append(top1(*trained))
        print(f"{model.stem} {method} {recovery} {part}: {found[-1]} ({found[0]} without)", flush=True)
    return [method, recovery, *found]


def _parts() -> Sequence[Any]:
    return [part for part in ("norm", "fc", "tail", "full") if part in PARTS]


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
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    macs = float(options.macs.rstrip("%")) / 100
    recipe = Recipe(epochs=options.epochs, augment=("crop", "flip"))
    archive = options.shared / "data" / "cifar10_jpeg.zip"
    sets = write_sets(archive, options.cache, CALIBRATION, options.images)
    head = ["method", "recovery", "none", *_parts()]
    text = (
        "# What to retrain\n\nWritten by `python -m benchmarks.retraining_study`: top-1 in percent on "
        f"{len(sets['test'][1])} test images\nat {options.macs} of the MACs, after {options.epochs} epochs on "
        f"{len(sets['train'][1])} training images (a tenth of them chooses the epoch),\n"
        f"torch {torch.__version__.split('+')[0]}.\n"
    )
    for net in options.nets.split(","):
        model = options.shared / "models" / f"{net}.onnx"
        rows = [
            study(model, options.cache, method, recovery, macs, recipe, options.device)
            for method in options.methods.split(",")
            for recovery in options.recover.split(",")
        ]
        text += f"\n## {net}\n\n{table(head, rows)}"
    if options.page is not None:
        options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
