"""A training loop for plain torch modules, the same for every tool that is compared."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.nets import DEVIATION, MEAN
from onnxprune.finetune.training.augment import Augment, Share
from onnxprune.finetune.training.objective import Answers, sample_losses
from onnxprune.finetune.training.recipe import Recipe

Set = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Pixels [n, height, width, 3] and labels [n]."""

BATCH, SEED = 128, 0
DECAY = 5e-4


@dataclass(frozen=True)
class Training:
    """How a module is trained: SGD with Nesterov momentum, shifted and mirrored images, batches of 128."""

    epochs: int
    rate: float
    """The highest of one cycle: it rises to that and falls to nothing."""
    device: torch.device
    teacher: nn.Module | None = None
    """Whose answers are half of the loss."""


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """Return what the nets are fed, of pixels as floats [n, 3, height, width]."""
    mean, deviation = (
        torch.tensor(value, dtype=torch.float32, device=pixels.device).reshape(1, 3, 1, 1)
        for value in (MEAN, DEVIATION)
    )
    return (pixels / 255 - mean) / deviation


def batches(data: Set, rows: NDArray[np.int64], device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield pixels as floats [n, 3, height, width], and labels."""
    pixels, labels = data
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        images = torch.from_numpy(pixels[some]).to(device).permute(0, 3, 1, 2).float()
        yield images, torch.from_numpy(labels[some]).to(device)


def accuracy(module: nn.Module, data: Set, device: torch.device) -> float:
    """Return top-1 in percent."""
    module.eval()
    total = len(data[1])
    with torch.no_grad():
        found = batches(data, np.arange(total), device)
        return 100 * sum(int((module(scaled(x)).argmax(1) == labels).sum()) for x, labels in found) / total


def trained(module: nn.Module, data: Set, how: Training) -> nn.Module:
    """Train a module, with its kernels in the layout that is fastest, and return it."""
    module.to(how.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(module.parameters(), lr=how.rate, momentum=0.9, nesterov=True, weight_decay=DECAY)
    total = len(data[1])
    steps = how.epochs * -(-total // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.rate, total_steps=steps)
    recipe, answers = Recipe(teach=0.5), Answers(0)
    rng = np.random.default_rng(SEED)
    step = 0
    for epoch in range(how.epochs):
        losses = 0.0
        for pixels, labels in batches(data, rng.permutation(total), how.device):
            images = scaled(Augment(("crop", "flip"), step, Share(0, len(labels), len(labels)))(pixels))
            with torch.autocast(how.device.type, torch.bfloat16, enabled=how.device.type == "cuda"):
                taught = None
                if how.teacher is not None:
                    with torch.no_grad():
                        taught = [how.teacher(images).float()]
                scores = [module(images).float()]
            loss = sample_losses(recipe, answers, scores, taught, labels).mean()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            losses += loss.item() * len(labels)
            step += 1
        print(f"  epoch {epoch + 1} of {how.epochs}: loss {losses / total:.4f}", flush=True)
    return module
