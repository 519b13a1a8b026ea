"""Softmax and its like; up to opset 12 over all axes from `axis` on together."""

from collections.abc import Callable

import torch

from onnxprune.finetune.interpreter.ops.site import Run, Site, at_axis, operator


def _over(function: Callable[[torch.Tensor, int], torch.Tensor]) -> Callable[[Site], Run]:
    def build(site: Site) -> Run:
        together = site.version < 13
        axis = site.attr("axis", 1 if together else -1)

        def run(x: torch.Tensor) -> torch.Tensor:
            first = at_axis(axis, x.ndim)
            if not together or first == x.ndim - 1:
                return function(x, first)
            return function(x.flatten(first), -1).reshape(x.shape)

        return run

    return build


operator("Softmax")(_over(torch.softmax))
operator("LogSoftmax")(_over(torch.log_softmax))
