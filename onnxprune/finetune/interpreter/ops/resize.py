"""Resizing: along one axis after the other, every output position reading one or two input positions."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from onnxprune.finetune.interpreter.ops.site import Run, Site, Value, at_axis, operator

Coordinates = Callable[[torch.Tensor, float, int, int], torch.Tensor]
"""From output positions, scale, input size and output size to input positions."""


def _aligned(at: torch.Tensor, _: float, size: int, made: int) -> torch.Tensor:
    return at * (size - 1) / (made - 1) if made > 1 else torch.zeros_like(at)


_COORDINATES: Mapping[str, Coordinates] = {
    "align_corners": _aligned,
    "asymmetric": lambda at, scale, *_: at / scale,
    "half_pixel": lambda at, scale, *_: (at + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda at, scale, size, made: (
        size / 2 * (1 - made / (scale * size)) + (at + 0.5) / scale - 0.5
    ),
    "pytorch_half_pixel": lambda at, scale, _, made: (at + 0.5) / scale - 0.5 if made > 1 else torch.zeros_like(at),
}
_NEAREST: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "ceil": torch.ceil,
    "floor": torch.floor,
    "round_prefer_ceil": lambda at: torch.floor(at + 0.5),
    "round_prefer_floor": lambda at: torch.ceil(at - 0.5),
}


def _axis(x: torch.Tensor, axis: int, at: torch.Tensor, nearest: str, *, linear: bool) -> torch.Tensor:
    last = x.shape[axis] - 1
    if not linear:
        return x.index_select(axis, _NEAREST[nearest](at).clamp(0, last).long().to(x.device))
    at = at.clamp(0, last)
    low = at.floor().long()
    share = (at - low).to(x).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    low, high = low.to(x.device), (low + 1).clamp(max=last).to(x.device)
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), share)


def _resized(
    x: torch.Tensor, made: list[int], scales: list[float], how: str, nearest: str | None, *, linear: bool
) -> torch.Tensor:
    """Return `x` with `made` positions an axis; without a mode, `nearest` is what old opsets do."""
    if made == list(x.shape):
        return x
    for axis, (size, scale) in enumerate(zip(made, scales, strict=True)):
        if size != x.shape[axis] or scale != 1.0:
            # in host memory and of single precision as runtimes do it: which neighbour is nearest hangs on the last bit
            positions = _COORDINATES[how](torch.arange(size, dtype=torch.float32), scale, x.shape[axis], size)
            x = _axis(x, axis, positions, nearest or ("ceil" if scale < 1 else "floor"), linear=linear)
    return x


def _scaled(size: int, scale: float) -> int:
    return math.floor(np.float32(size) * np.float32(scale))


@operator("Resize")
def resize(site: Site) -> Run:
    """Nearest or linear, by scales or to sizes."""
    mode, how = site.attr("mode", "nearest"), site.attr("coordinate_transformation_mode", "half_pixel")
    nearest, chosen = site.attr("nearest_mode", "round_prefer_floor"), site.attr("axes")
    if site.version < 11:
        how, nearest = "asymmetric", None
    if mode not in ("nearest", "linear") or how not in _COORDINATES:
        raise site.refusal(f"resizing {mode} with coordinates {how} is not computed")
    if site.attr("antialias", 0) or site.attr("exclude_outside", 0):
        raise site.refusal("resizing with antialias or exclude_outside is not computed")
    if site.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise site.refusal("resizing that keeps the aspect ratio is not computed")
    slot = 1 if site.version < 11 else 2
    read_scales, read_sizes = site.floats(slot), site.ints(3)

    def run(x: torch.Tensor, *inputs: Value) -> torch.Tensor:
        axes = [at_axis(axis, x.ndim) for axis in chosen] if chosen is not None else list(range(x.ndim))
        made, factors = list(x.shape), [1.0] * x.ndim
        sizes = inputs[2] if len(inputs) > 2 else None
        scales = read_scales(inputs[slot - 1]) if sizes is None else []
        for place, axis in enumerate(axes):
            if sizes is not None:
                made[axis] = read_sizes(sizes)[place]
                factors[axis] = float(np.float32(made[axis]) / np.float32(x.shape[axis]))
            else:
                factors[axis] = scales[place]
                made[axis] = _scaled(x.shape[axis], factors[axis])
        return _resized(x, made, factors, how, nearest, linear=mode == "linear")

    return run


@operator("Upsample")
def upsample(site: Site) -> Run:
    """What Resize was up to opset 9."""
    given, read, linear = site.attr("scales"), site.floats(1), site.attr("mode", "nearest") == "linear"

    def run(x: torch.Tensor, factors: Value = None) -> torch.Tensor:
        scales = given or read(factors)
        made = [_scaled(size, scale) for size, scale in zip(x.shape, scales, strict=True)]
        return _resized(x, made, list(scales), "asymmetric", None, linear=linear)

    return run
