"""Decoding image files and fitting images to a size, with Pillow."""

import struct
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from onnxprune.errors import InputError
from onnxprune.values.ordinary_file import open_ordinary
from onnxprune.values.preprocess import Preprocess

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
OPAQUE = 255
"""Alpha of what nothing shines through."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# What Pillow's decoders raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


class CorruptImageError(Exception):
    """A file cannot be decoded; the text says why."""


Conversion = Literal["grey to colour", "colour to grey", "transparency dropped"]
"""What was done to the channels of an image so that the model takes it."""


class Decoded(NamedTuple):
    """An image, shape (height, width, channels), and what was done to its channels; None: nothing."""

    pixels: NDArray[np.uint8]
    conversion: Conversion | None


def decode(path: Path, channels: int, preprocess: Preprocess) -> Decoded:
    """Decode one file, upright after its EXIF orientation, resized and cropped.

    Raises:
        CorruptImageError: the file is damaged or not an image.
        InputError: the image is smaller than the crop.
    """
    try:
        with open_ordinary(path) as file, Image.open(file) as opened:
            opened.load()
            upright = _upright(opened)
            image = _convert(upright, _MODES[channels])
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise CorruptImageError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    return Decoded(_fit(image, preprocess, f"image '{path}'"), _conversion(upright, channels))


def fit(pixels: NDArray[np.uint8], preprocess: Preprocess, where: str) -> NDArray[np.uint8]:
    """Resize and crop one image, shape (height, width, channels), as `decode` does.

    Raises:
        InputError: the image is smaller than the crop; `where` names it.
    """
    if preprocess.resize is None and preprocess.crop is None:
        return pixels
    single = pixels.shape[2] == 1
    return _fit(Image.fromarray(pixels[..., 0] if single else pixels), preprocess, where)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGE:  # a damaged orientation tag is no reason to lose sound pixels
        return image


def _conversion(image: Image.Image, channels: int) -> Conversion | None:
    if channels != 4 and image.has_transparency_data and _rgba(image)[..., 3].min() < OPAQUE:
        return "transparency dropped"
    if image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F")):
        return "grey to colour" if channels > 1 else None
    coloured = channels == 1 and np.ptp(_rgba(image)[..., :3], axis=-1).any()  # grey images may be stored as RGB
    return "colour to grey" if coloured else None


def _rgba(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGBA"))


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion clips at 255, which turns most of the image white.
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def _fit(image: Image.Image, preprocess: Preprocess, where: str) -> NDArray[np.uint8]:
    if preprocess.resize is not None:
        height, width = _resized(image.height, image.width, preprocess.resize)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if preprocess.crop is not None:
        crop = preprocess.crop
        height, width = (crop, crop) if isinstance(crop, int) else crop
        if height > image.height or width > image.width:
            raise InputError(
                f"{where} is {image.height} x {image.width} (height x width), smaller than "
                f"--crop {height},{width}: pass a larger --resize as well",
                "data-mismatch",
            )
        # Rounded like torchvision's CenterCrop.
        top, left = round((image.height - height) / 2), round((image.width - width) / 2)
        image = image.crop((left, top, left + width, top + height))
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _resized(height: int, width: int, resize: tuple[int, int] | int) -> tuple[int, int]:
    if isinstance(resize, tuple):
        return resize
    # Truncated like torchvision's Resize.
    if height <= width:
        return resize, max(1, int(resize * width / height))
    return max(1, int(resize * height / width)), resize
