"""Convolutions."""

import torch
from torch.nn import functional

from onnxprune.finetune.interpreter.ops.site import Run, Site, Value, operator
from onnxprune.finetune.interpreter.ops.windows import windows

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


@operator("Conv")
def conv(site: Site) -> Run:
    """Any stride, dilation, groups and padding; one to three spatial axes."""
    dims, groups = site.rank(1) - 2, site.attr("group", 1)
    if dims not in _CONVOLUTIONS:
        raise site.refusal(f"torch convolves over one to three axes, not {dims}")
    function = _CONVOLUTIONS[dims]
    known = site.attr("kernel_shape")

    def run(x: torch.Tensor, w: torch.Tensor, b: Value = None) -> torch.Tensor:
        window = of_input(x) if of_input else windows(site, w.shape[2:])(x)
        if window.even:
            return function(x, w, b, window.strides, window.before, window.dilations, groups)
        return function(window.padded(x, 0.0), w, b, window.strides, 0, window.dilations, groups)

    of_input = windows(site, known) if known else None
    return run


@operator("ConvTranspose")
def conv_transpose(site: Site) -> Run:
    """Paddings that differ by side, and sizes that torch refuses, are cropped from the result without padding."""
    dims, groups = site.rank(1) - 2, site.attr("group", 1)
    if dims not in _TRANSPOSED:
        raise site.refusal(f"torch convolves over one to three axes, not {dims}")
    function = _TRANSPOSED[dims]
    strides = site.attr("strides") or [1] * dims
    dilations = site.attr("dilations") or [1] * dims
    extra = site.attr("output_padding") or [0] * dims
    shape, mode = site.attr("output_shape"), site.attr("auto_pad", "NOTSET")
    pads = (site.attr("pads") if mode == "NOTSET" else None) or [0] * 2 * dims

    def run(x: torch.Tensor, w: torch.Tensor, b: Value = None) -> torch.Tensor:
        whole = [
            (size - 1) * step + (width - 1) * dilation + 1
            for size, step, width, dilation in zip(x.shape[2:], strides, w.shape[2:], dilations, strict=True)
        ]
        full = [size + more for size, more in zip(whole, extra, strict=True)]
        before, after = list(pads[:dims]), list(pads[dims:])
        if shape or mode.startswith("SAME"):
            wanted = shape[-dims:] if shape else [step * size for step, size in zip(strides, x.shape[2:], strict=True)]
            total = [max(0, size - less) for size, less in zip(full, wanted, strict=True)]
            less, more = [pad // 2 for pad in total], [pad - pad // 2 for pad in total]
            before, after = (less, more) if mode == "SAME_UPPER" else (more, less)
        made = shape[-dims:] if shape else [n - a - b for n, a, b in zip(full, before, after, strict=True)]
        plain = made == [n - 2 * a for n, a in zip(full, before, strict=True)]
        if plain and all(more < step for more, step in zip(extra, strides, strict=True)):
            return function(x, w, b, strides, before, extra, groups, dilations)
        y = function(x, w, None, strides, 0, 0, groups, dilations)
        sides = zip(reversed(whole), reversed(before), reversed(made), strict=True)
        y = functional.pad(y, [n for size, start, end in sides for n in (-start, start + end - size)])
        return y if b is None else y + b.reshape(-1, *[1] * dims)

    return run
