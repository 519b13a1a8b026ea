"""Pooling."""

import math

import torch
from torch.nn import functional

from onnxprune.finetune.interpreter.ops.site import Run, Site, operator
from onnxprune.finetune.interpreter.ops.windows import Window, windows

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@operator("MaxPool")
def max_pool(site: Site) -> Run:
    """Padding never wins. The places of the winners are not given."""
    if len([name for name in site.node.outputs if name]) > 1:
        raise site.refusal("the places of the winners (its second output) are not computed")
    kernel = site.attr("kernel_shape")
    ceil, of_input, pool = bool(site.attr("ceil_mode", 0)), windows(site, kernel), _MAX[len(kernel)]

    def run(x: torch.Tensor) -> torch.Tensor:
        window = of_input(x)
        if window.even and all(2 * pad <= width for pad, width in zip(window.before, kernel, strict=True)):
            return pool(x, kernel, window.strides, window.before, window.dilations, ceil)
        y = pool(window.padded(x, -math.inf), kernel, window.strides, 0, window.dilations, ceil)
        return _inside(y, x, window) if ceil else y

    return run


@operator("AveragePool")
def average_pool(site: Site) -> Run:
    """With or without the padding in the mean."""
    kernel, counted = site.attr("kernel_shape"), bool(site.attr("count_include_pad", 0))
    ceil, of_input, pool = bool(site.attr("ceil_mode", 0)), windows(site, kernel), _AVERAGE[len(kernel)]
    if any(step != 1 for step in site.attr("dilations") or ()):
        raise site.refusal("torch has no average pooling with dilations")
    steps = site.attr("strides") or [1] * len(kernel)
    if site.attr("auto_pad", "NOTSET").startswith("SAME") and any(
        step > width + 1 for step, width in zip(steps, kernel, strict=True)
    ):
        raise site.refusal("auto_pad with strides larger than the window, where runtimes differ, is not computed")

    def run(x: torch.Tensor) -> torch.Tensor:
        window = of_input(x)
        if window.even and all(2 * pad <= width for pad, width in zip(window.before, kernel, strict=True)):
            return pool(x, kernel, window.strides, window.before, ceil, counted)
        y = pool(window.padded(x, 0.0), kernel, window.strides, 0, ceil)
        if not counted:
            y = y / pool(window.padded(torch.ones_like(x[:1, :1]), 0.0), kernel, window.strides, 0, ceil)
        return _inside(y, x, window) if ceil else y

    return run


def _inside(y: torch.Tensor, x: torch.Tensor, window: Window) -> torch.Tensor:
    """Drop what begins in the padding behind the data, which torch does only for padding that it adds itself."""
    sizes = zip(x.shape[2:], window.before, window.strides, y.shape[2:], strict=True)
    kept = tuple(slice(min(made, -(-(size + pad) // step))) for size, pad, step, made in sizes)
    return y[(slice(None), slice(None), *kept)]


@operator("GlobalAveragePool")
def global_average_pool(site: Site) -> Run:
    """The mean over all spatial axes."""
    return lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(site: Site) -> Run:
    """The maximum over all spatial axes."""
    return lambda x: x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)
