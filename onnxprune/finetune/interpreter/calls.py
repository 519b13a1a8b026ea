"""Graphs that take a fixed number of samples a call, on batches of any size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onnxprune.errors import InputError
from onnxprune.finetune.interpreter.module import GraphModule, as_tuple

CLOSE = 1e-4


class PerCall(nn.Module):
    """Runs a module on `size` samples at a time and puts its outputs together again.

    The last call is filled up by repeating samples, which then count for nothing.
    """

    def __init__(self, module: GraphModule, size: int) -> None:
        super().__init__()
        self.module, self.size = module, size

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Return the output for all samples, or a tuple where there are several."""
        total = len(inputs[0])
        calls = []
        for start in range(0, total, self.size):
            rows = torch.arange(start, start + self.size, device=inputs[0].device).clamp_max(total - 1)
            calls.append(as_tuple(self.module(*(value[rows] for value in inputs))))
        # an output may have several rows a sample
        outputs = tuple(torch.cat(parts)[: total * (len(parts[0]) // self.size)] for parts in zip(*calls, strict=True))
        return outputs[0] if len(outputs) == 1 else outputs


def batched(module: GraphModule, some: Sequence[torch.Tensor]) -> nn.Module:
    """Return what runs a module on any number of samples: itself, or `PerCall` where the graph counts on its own.

    A graph that declares a fixed number is tried on twice as many of the samples `some` (at least one), as nothing but
    a Reshape with that number in it stands against it.

    Raises:
        InputError: inputs disagree about the number of samples.
    """
    size = module.samples
    if size is None:
        return module
    if len(set(module.first_sizes.values())) > 1:
        told = ", ".join(f"{name} {first}" for name, first in module.first_sizes.items())
        raise InputError(
            f"The model cannot be trained: its inputs do not agree on a number of samples, the first axis ({told}).",
            "unsupported-model",
        )
    rows = torch.arange(2 * size, device=some[0].device) % len(some[0])
    feeds = [value[rows] for value in some]
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            apart, whole = PerCall(module, size)(*feeds), _tried(module, feeds)
    finally:
        module.train(training)
    return module if _same(apart, whole) else PerCall(module, size)


def run_all(module: GraphModule, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Run a module, as it is after training, on arrays by input name; return its outputs in order."""
    given = [torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in module.input_names]
    with torch.no_grad():
        made = batched(module, given)(*given)
    return [value.cpu().numpy() for value in as_tuple(made)]


def _tried(module: GraphModule, feeds: Sequence[torch.Tensor]) -> Any:
    try:
        return module(*feeds)
    except (RuntimeError, ValueError, IndexError):
        return None


def _same(one: Any, other: Any) -> bool:
    if other is None:
        return False
    pairs = zip(as_tuple(one), as_tuple(other), strict=True)
    return all(a.shape == b.shape and torch.allclose(a.float(), b.float(), CLOSE, CLOSE) for a, b in pairs)
