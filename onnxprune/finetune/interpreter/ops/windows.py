"""Padding of convolutions and pools, which torch knows only where it is the same on both sides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from onnxprune.finetune.interpreter.ops.site import Site


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes; `before` and `after` is the padding of each axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def even(self) -> bool:
        """Whether both sides of every axis have the same padding."""
        return self.before == self.after

    @property
    def torch_pads(self) -> list[int]:
        """Paddings in the order of `torch.nn.functional.pad`: last axis first."""
        return [pad for pair in zip(reversed(self.before), reversed(self.after), strict=True) for pad in pair]

    def padded(self, x: torch.Tensor, value: float) -> torch.Tensor:
        """Return `x` with its padding written out."""
        return functional.pad(x, self.torch_pads, value=value) if any(self.torch_pads) else x


def windows(site: Site, kernel: Sequence[int]) -> Callable[[torch.Tensor], Window]:
    """Return what tells the window for an input; it depends on the input where `auto_pad` asks for SAME."""
    dims = len(kernel)
    strides = tuple(site.attr("strides") or [1] * dims)
    dilations = tuple(site.attr("dilations") or [1] * dims)
    pads = tuple(site.attr("pads") or [0] * 2 * dims)
    mode = site.attr("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        pads = pads if mode == "NOTSET" else (0,) * 2 * dims
        fixed = Window(tuple(kernel), strides, dilations, pads[:dims], pads[dims:])
        return lambda _: fixed

    if any(dilation > 1 for dilation in dilations):
        raise site.refusal("auto_pad with dilations, where runtimes differ, is not computed")

    def same(x: torch.Tensor) -> Window:
        total = [
            max(0, (-(-size // stride) - 1) * stride + width - size)
            for size, stride, width in zip(x.shape[-dims:], strides, kernel, strict=True)
        ]
        less, more = tuple(pad // 2 for pad in total), tuple(pad - pad // 2 for pad in total)
        before, after = (less, more) if mode == "SAME_UPPER" else (more, less)
        return Window(tuple(kernel), strides, dilations, before, after)

    return same
