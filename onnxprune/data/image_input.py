"""What a model's image input asks of pixels, and turning uint8 pixels into the array that is fed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import InputError
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import Preprocess

Pixels = NDArray[np.uint8]
"""Decoded images of one size, shape (n, height, width, channels), channels in R, G, B (A) order."""

_IMAGE_CHANNELS = (1, 3, 4)
_FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class ImageInput:
    """A model input that takes images.

    Attributes:
        spec: The input itself.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        height: Fixed height, None if the model takes any.
        width: Fixed width, None if the model takes any.
        channels_last: True for [batch, height, width, channels].
    """

    spec: TensorSpec
    channels: int
    height: int | None
    width: int | None
    channels_last: bool

    def check_size(self, height: int, width: int, where: str) -> None:
        """Refuse images that the model cannot take.

        Raises:
            InputError: the size is not the model's; `where` names the image.
        """
        if (self.height or height, self.width or width) == (height, width):
            return
        wanted = f"{self.height or height},{self.width or width}"
        raise InputError(
            f"{where} is {height} x {width} (height x width) but input '{self.spec.name}' takes "
            f"{self.height or 'any'} x {self.width or 'any'}: pass --resize {wanted}",
            "data-mismatch",
        )


def image_input(inputs: Sequence[TensorSpec], preprocess: Preprocess) -> ImageInput:
    """Read from the shape of the model's only input how it takes images.

    Where the shape allows both layouts, the channels are at axis 1, as in most ONNX models.

    Raises:
        InputError: several inputs, or one that does not look like images.
    """
    advice = "give preprocessed arrays in an .npz file (as x, or under the names of the inputs)"
    if len(inputs) != 1:
        names = ", ".join(f"'{spec.name}'" for spec in inputs)
        raise InputError(f"images can feed a model with one input, but this one has {names}: {advice}", "data-mismatch")
    spec = inputs[0]
    found = None
    if len(spec.shape) == 4 and spec.dtype in (*_FLOATS, "uint8"):
        found = _channels_last(spec, preprocess)
    if found is None:
        shape = ", ".join("?" if dim is None else str(dim) for dim in spec.shape)
        raise InputError(
            f"input '{spec.name}' of shape [{shape}] and type {spec.dtype} does not take images "
            f"(no channel axis of 1, 3 or 4 at 1 or last): set --layout if it does, else {advice}",
            "data-mismatch",
        )
    axes = (3, 1, 2) if found else (1, 2, 3)
    channels, height, width = (spec.shape[axis] for axis in axes)
    if channels not in _IMAGE_CHANNELS:
        raise InputError(
            f"input '{spec.name}' has {channels or 'an unknown number of'} channels where --layout "
            f"{preprocess.layout} puts them, but images have 1, 3 or 4: try the other layout, or {advice}",
            "data-mismatch",
        )
    assert channels is not None
    return ImageInput(spec, channels, height, width, channels_last=found)


def _channels_last(spec: TensorSpec, preprocess: Preprocess) -> bool | None:
    if preprocess.layout != "auto":
        return preprocess.layout == "nhwc"
    if spec.shape[1] in _IMAGE_CHANNELS:
        return False
    return True if spec.shape[3] in _IMAGE_CHANNELS else None


def to_feed(pixels: Pixels, target: ImageInput, preprocess: Preprocess) -> NDArray[Any]:
    """Scale, normalise, reorder and lay out pixels for the model.

    A uint8 input is fed the pixels themselves: such a model has its preprocessing inside.

    Args:
        pixels: Shape (n, height, width, channels).
        target: The model's input.
        preprocess: Scale, mean, std and channel order.

    Returns:
        Contiguous, of the input's dtype and layout.

    Raises:
        InputError: mean or std do not fit the number of channels.
    """
    order = list(range(target.channels))
    if preprocess.channel_order == "bgr" and target.channels >= 3:
        order[:3] = (2, 1, 0)
    if target.spec.dtype == "uint8":
        values: NDArray[Any] = pixels[..., order]
    else:
        mean, std = preprocess.statistics(target.channels)
        # A pixel has 256 values: looking them up is faster than float arithmetic, and computed in float64.
        levels = np.arange(256)[:, None] * preprocess.scale
        table = ((levels - mean) / std).astype(target.spec.dtype)
        shape = (len(pixels), *pixels.shape[1:3], target.channels)
        if not target.channels_last:
            planes = np.empty((shape[0], shape[3], shape[1], shape[2]), dtype=table.dtype)
            for place, channel in enumerate(order):
                planes[:, place] = table[:, channel][pixels[..., channel]]
            return planes
        values = np.empty(shape, dtype=table.dtype)
        for place, channel in enumerate(order):
            values[..., place] = table[:, channel][pixels[..., channel]]
    return np.ascontiguousarray(values if target.channels_last else values.transpose(0, 3, 1, 2))
