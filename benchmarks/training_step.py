"""The interpreter's training step against the same nets as hand-written torch modules, side by side.

    python -m benchmarks.training_step SHARED [--nets NAMES] [--batch N] [--repeats N] [--threads N] [--page FILE.md]

SHARED holds models/cifar10_resnet20_bn.onnx and models/cifar10_resnet56_bn.onnx. A step is forward, cross-entropy,
backward and SGD with momentum on images of noise. Both modules begin with the same weights and have to agree on the
first loss; then they take turns, and the ratio is the median over the pairs of turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from benchmarks.tables import table
from benchmarks.threads import limit_threads
from benchmarks.torch_resnet import load_resnet
from onnxprune import load
from onnxprune.finetune.interpreter.module import GraphModule

NETS = "cifar10_resnet20_bn,cifar10_resnet56_bn"
ASKED = 1.15


def stepper(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], float]:
    """Return what takes a training step of a module and returns its loss."""
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)
    module.train()

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(module(images), labels)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.item()

    return step


def measure(path: Path, batch: int, repeats: int, device: torch.device) -> tuple[float, float, float]:
    """Return the median seconds of a step by hand and by the interpreter, and the median of their ratios.

    Raises:
        SystemExit: the two do not compute the same.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, 32, 32, generator=generator).to(device)
    labels = torch.randint(10, (batch,), generator=generator).to(device)
    modules = (load_resnet(path).to(device), GraphModule(load(path).graph).to(device))
    steps = [stepper(module, images, labels) for module in modules]
    first = [step() for step in steps]
    if abs(first[0] - first[1]) > 1e-4 * abs(first[0]):
        raise SystemExit(f"{path.name}: the losses differ, {first[0]} by hand and {first[1]} by the interpreter")
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 2):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            steps[which]()
            if turn >= 2:  # the first turns warm up
                taken[which].append(time.perf_counter() - start)
    ratios = [ours / plain for plain, ours in zip(*taken, strict=True)]
    return statistics.median(taken[0]), statistics.median(taken[1]), statistics.median(ratios)


def main() -> None:
    """Measure, print, and write the page where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--nets", default=NETS)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    limit_threads(options.threads)
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.nets.split(","):
        path = options.shared / "models" / f"{name}.onnx"
        if not path.exists():
            print(f"{path} is not there: left out")
            continue
        plain, ours, ratio = measure(path, options.batch, options.repeats, torch.device(options.device))
        rows.append([name, f"{1000 * plain:.0f} ms", f"{1000 * ours:.0f} ms", f"{ratio:.3f}", str(ASKED)])
        print(*rows[-1], sep="  ", flush=True)
    where = f"torch {torch.__version__.split('+')[0]} ({options.device}), {options.threads} threads"
    text = (
        "# The training step\n\nWritten by `python -m benchmarks.training_step`: forward, cross-entropy, backward and "
        f"SGD\non {options.batch} images, {where};\nmedians of {options.repeats} turns, in which each goes first in "
        "every other. The interpreter holds its kernels\nchannels last, the modules by hand are as torch makes "
        "them.\n\n"
    )
    if options.page is not None:
        head = ["net", "by hand", "interpreter", "ratio", "asked"]
        options.page.write_text(text + table(head, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
