"""How pixels become the numbers a model is fed: sizes, scaling, mean and std, layout, channel order.

A `Preprocess` is a value: it is kept in the plan file and checked when it is made. Applying it to pixels is
the work of `onnxprune.data`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from onnxprune.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Layout = Literal["auto", "nchw", "nhwc"]
ChannelOrder = Literal["rgb", "bgr"]


@dataclass(frozen=True)
class Preprocess:
    """What is done to each image: resize, crop, then `(pixel * scale - mean) / std`.

    Attributes:
        mean: One value for all channels or one per channel, in R, G, B order whatever `channel_order` is.
        std: Like `mean`; never 0.
        scale: Factor of the pixel value (0 to 255) before mean and std.
        resize: `(height, width)`, or the length of the shorter side, or None to keep the size (bilinear).
        crop: `(height, width)` or the side of a square cut from the centre after the resize, or None.
        layout: Where the model has its channels; `auto` reads it from the shape of the model's input.
        channel_order: What the model was trained with; `bgr` swaps red and blue after mean and std.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1 / 255
    resize: tuple[int, int] | int | None = None
    crop: tuple[int, int] | int | None = None
    layout: Layout = "auto"
    channel_order: ChannelOrder = "rgb"

    def __post_init__(self) -> None:
        """Refuse values that cannot be applied.

        Raises:
            InputError: names the option that is wrong.
        """
        for option, values in (("--mean", self.mean), ("--std", self.std), ("--scale", (self.scale,))):
            if not values or not all(_is_number(value) for value in values):
                raise InputError(
                    f"{option} is {_shown(values)}: give one finite number or one per channel, such as 0.5",
                    "bad-value",
                )
        if 0.0 in self.std:
            raise InputError(
                f"--std is {_shown(self.std)}: a value of 0 would divide by zero, give 1 instead", "bad-value"
            )
        if self.scale == 0:
            raise InputError(
                "--scale is 0, which makes every image black: give a factor such as 0.00392157", "bad-value"
            )
        _check_size("--resize", self.resize)
        _check_size("--crop", self.crop)
        _check_choice("--layout", self.layout, get_args(Layout))
        _check_choice("--channel-order", self.channel_order, get_args(ChannelOrder))

    def with_preset(self, name: str) -> "Preprocess":
        """The same geometry, layout and channel order with the scale, mean and std of a preset.

        Raises:
            InputError: no preset has this name.
        """
        if name not in PRESETS:
            nearest = did_you_mean(name, PRESETS)
            raise InputError(
                f"no preprocessing preset is called '{name}'{nearest}: choose from {', '.join(PRESETS)}", "unknown-name"
            )
        preset = PRESETS[name]
        return replace(self, scale=preset.scale, mean=preset.mean, std=preset.std)

    def statistics(self, channels: int) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
        """Mean and std per channel, each of shape (channels,).

        One value serves all channels; three values serve a one-channel model by their average.

        Raises:
            InputError: the number of values fits neither.
        """
        return _spread("--mean", self.mean, channels), _spread("--std", self.std, channels)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types that `from_json` reads back to an equal value."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Preprocess":
        """Read what `to_json` wrote.

        Raises:
            InputError: an unknown, missing or invalid field.
        """
        if not isinstance(data, Mapping):
            raise InputError(
                "the preprocessing of the plan is not a JSON object: write the plan again", "unreadable-file"
            )
        known = [field.name for field in fields(cls)]
        wrong = sorted({str(key) for key in data} ^ set(known))
        if wrong:
            raise InputError(
                f"the preprocessing of the plan has unknown or missing fields ({', '.join(wrong)}): "
                f"it must hold exactly {', '.join(known)}",
                "unreadable-file",
            )
        lists: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        for key in ("mean", "std"):
            if not isinstance(lists[key], tuple):
                raise InputError(
                    f"'{key}' in the preprocessing of the plan must be a list of numbers", "unreadable-file"
                )
        return cls(**lists)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(values: tuple[float, ...]) -> str:
    return ",".join(str(value) for value in values) or "empty"


def _check_size(option: str, size: object) -> None:
    if size is None:
        return
    sides = size if isinstance(size, tuple) else (size,)
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in sides)
    if not whole or len(sides) not in (1, 2) or (isinstance(size, tuple) and len(sides) != 2):
        raise InputError(
            f"{option} is {size}: give one length or HEIGHT,WIDTH in whole pixels, such as 224,224", "bad-value"
        )


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{option} is '{value}': choose from {', '.join(choices)}", "bad-value")


def _spread(option: str, values: tuple[float, ...], channels: int) -> "NDArray[np.float64]":
    import numpy as np  # not needed by those who only read options

    array = np.asarray(values, dtype=np.float64)
    if array.size in (1, channels):
        return np.broadcast_to(array, (channels,)).copy()
    if channels == 1 and array.size == 3:
        return np.array([array.mean()])
    raise InputError(
        f"{option} has {array.size} values but the model's input has {channels} channels: give one value or {channels}",
        "bad-value",
    )


PRESETS: Mapping[str, Preprocess] = MappingProxyType(
    {
        "imagenet": Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        "cifar10": Preprocess(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
        "unit": Preprocess(),
        "raw255": Preprocess(scale=1.0),
        "symmetric": Preprocess(mean=(1.0,), scale=1 / 127.5),
    }
)
"""Scale, mean and std by name, in the order in which `--preprocess auto` prefers them when they tie."""


def describe(preprocess: Preprocess) -> str:
    """Return the scaling and the geometry in words."""
    parts = [f"scale {preprocess.scale:.6g}", f"mean {_numbers(preprocess.mean)}", f"std {_numbers(preprocess.std)}"]
    if preprocess.resize is not None:
        parts.append(f"resize {_size(preprocess.resize)}")
    if preprocess.crop is not None:
        parts.append(f"crop {_size(preprocess.crop)}")
    if preprocess.channel_order != "rgb":
        parts.append(preprocess.channel_order)
    return ", ".join(parts)


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)


def _size(size: tuple[int, int] | int) -> str:
    return str(size) if isinstance(size, int) else f"{size[0]} x {size[1]}"
