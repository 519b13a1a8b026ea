"""Pruned by onnxprune and by Torch-Pruning: same weights, same budget, same training, same test images.

    python -m benchmarks.vs_torch_pruning SHARED --cache FOLDER [--net cifar10_resnet20_bn] [--macs 50%] [--epochs 1,3]
        [--methods NAMES] [--images N] [--device cpu] [--page FILE.md]

SHARED holds models/cifar10_resnet20_bn.onnx (or resnet56) and data/cifar10_jpeg.zip. Both begin with the weights of
that file: onnxprune with the file and 500 training images for scores and recovery, Torch-Pruning (group L1, global,
inner channels, as it cannot cut residual widths of option A) with the same net as a torch module.

Both are then trained by the very same loop: cross-entropy, SGD with Nesterov momentum, a one-cycle rate up to 0.02,
batches of 128, shifted and mirrored images, seed 0. Beside them, `+ teacher` also learns the original's answers, which
needs no labels that the others do not have. Every number of epochs is a run of its own. Top-1 on all test images.

Torch-Pruning is needed for its rows alone (`pip install --no-deps torch-pruning`).
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import onnxprune
from benchmarks.nets import DEVIATION, MEAN, PIXELS, write_sets
from benchmarks.tables import table
from benchmarks.torch_resnet import ResNet, load_resnet
from onnxprune.finetune.interpreter.module import GraphModule
from onnxprune.finetune.training.augment import Augment, Share
from onnxprune.finetune.training.objective import Answers, sample_losses
from onnxprune.finetune.training.recipe import Recipe

Pixels = NDArray[np.uint8]
METHODS = "entropy,catro,class-aware,reconstruction"
CALIBRATION = 50
BATCH, RATE, DECAY, SEED = 128, 0.02, 5e-4, 0


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """Return what the nets are fed, of uint8 pixels as floats [n, 3, 32, 32]."""
    mean, deviation = (
        torch.tensor(value, dtype=torch.float32, device=pixels.device).reshape(1, 3, 1, 1)
        for value in (MEAN, DEVIATION)
    )
    return (pixels / 255 - mean) / deviation


def batches(pixels: Pixels, rows: NDArray[np.int64], device: torch.device) -> Iterator[tuple[torch.Tensor, Any]]:
    """Yield images as floats [n, 3, 32, 32], and their rows."""
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        yield torch.from_numpy(pixels[some]).to(device).permute(0, 3, 1, 2).float(), some


def accuracy(module: nn.Module, pixels: Pixels, labels: NDArray[np.int64], device: torch.device) -> float:
    """Return top-1 in percent."""
    module.eval()
    right = 0
    with torch.no_grad():
        for images, rows in batches(pixels, np.arange(len(labels)), device):
            right += int((module(scaled(images)).argmax(1).cpu().numpy() == labels[rows]).sum())
    return 100 * right / len(labels)


def trained(
    module: nn.Module,
    pixels: Pixels,
    labels: NDArray[np.int64],
    epochs: int,
    device: torch.device,
    teacher: nn.Module | None = None,
) -> nn.Module:
    """Train a module; with a teacher half of the loss is the distance from its answers."""
    module.to(device).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=DECAY)
    steps = epochs * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    recipe, answers = Recipe(teach=0.5), Answers(0)
    rng = np.random.default_rng(SEED)
    step = 0
    for _ in range(epochs):
        for images, rows in batches(pixels, rng.permutation(len(labels)), device):
            images = scaled(Augment(("crop", "flip"), step, Share(0, len(rows), len(rows)))(images))
            taught = None
            if teacher is not None:
                with torch.no_grad():
                    taught = [teacher(images)]
            wanted = torch.from_numpy(labels[rows]).to(device)
            loss = sample_losses(recipe, answers, [module(images)], taught, wanted).mean()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            step += 1
    return module


def by_onnxprune(path: Path, data: Path, method: str, macs: float) -> tuple[GraphModule, float]:
    """Return the pruned and recovered net, and the share of the MACs that it has left."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.onnx"
        result = onnxprune.prune(
            path, data, method, macs=macs, round_to=1, check_accuracy=False, output=small, preprocess=PIXELS
        )
        assert result.after is not None
        return GraphModule(onnxprune.load(small).graph), result.after.macs / result.before.macs


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


def rows_of(
    name: str,
    make: Callable[[], tuple[nn.Module, float]],
    train: tuple[Pixels, NDArray[np.int64]],
    test: tuple[Pixels, NDArray[np.int64]],
    epochs: Sequence[int],
    device: torch.device,
    teacher: nn.Module,
) -> Iterator[list[str]]:
    """Yield the table rows of one way of pruning."""
    net, left = make()
    net.to(device)
    first = accuracy(net, *test, device)
    for label, guide in ((name, None), (f"{name} + teacher", teacher)):
        found = [accuracy(trained(deepcopy(net), *train, count, device, guide), *test, device) for count in epochs]
        yield [label, f"{100 * left:.1f}", f"{first:.2f}", *(f"{value:.2f}" for value in found)]


def main() -> None:
    """Measure, print, and write the page where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--net", default="cifar10_resnet20_bn")
    parser.add_argument("--macs", default="50%")
    parser.add_argument("--epochs", default="1,3")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--images", type=int, default=50_000, help="training images, as many of each class")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    epochs = [int(count) for count in options.epochs.split(",")]
    macs = float(options.macs.rstrip("%")) / 100
    path = options.shared / "models" / f"{options.net}.onnx"
    archive = options.shared / "data" / "cifar10_jpeg.zip"
    sets = write_sets(archive, options.cache, CALIBRATION, options.images)
    train, test, data = sets["train"], sets["test"], options.cache / "calibration.npz"
    teacher = GraphModule(onnxprune.load(path).graph).to(device).eval()
    ways: dict[str, Callable[[], tuple[nn.Module, float]]] = {
        f"onnxprune, {method}": lambda method=method: by_onnxprune(path, data, method, macs)  # type: ignore[misc]
        for method in options.methods.split(",")
    }
    ways["Torch-Pruning, group L1"] = lambda: by_torch_pruning(path, macs)
    head = ["", "MACs left %", "without training", *(f"{count} epoch{'s' * (count > 1)}" for count in epochs)]
    rows = []
    for name, make in ways.items():
        for row in rows_of(name, make, train, test, epochs, device, teacher):
            rows.append(row)
            print(*row, sep="  ", flush=True)
    before = accuracy(teacher, *test, device)
    text = (
        f"# Beside Torch-Pruning\n\nWritten by `python -m benchmarks.vs_torch_pruning --net {options.net}`.\n"
        f"Top-1 in percent on {len(test[1])} test images, {before:.2f} before; trained on {len(train[1])} images, "
        f"{options.device}, seed {SEED}.\nBoth begin with the same weights and are trained by the same loop.\n\n"
    )
    if options.page is not None:
        options.page.write_text(text + table(head, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
