"""Augmentation of small images: shifted crops and mirror images, by kornia, which runs wherever torch does.

The random numbers are drawn for the whole batch and then shared out, so that a sample is changed in the same way
however many processes work on the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from onnxprune.errors import InputError

KINDS = ("crop", "flip")
"""What there is: crops of the padded image, and mirror images."""

PADDING = 8
"""A crop moves an image by up to this fraction of its side: 4 pixels of 32."""

OF_ALL = frozenset({"forward_input_shape"})
"""Drawn numbers that are not by sample."""


@dataclass(frozen=True)
class Share:
    """Which part of a batch a process has: samples `start` to `stop` of `whole`."""

    start: int
    stop: int
    whole: int


@dataclass(frozen=True, eq=False)
class Augment:
    """Changes images [n, channels, height, width] at random, the whole batch's numbers drawn from `seed`."""

    kinds: tuple[str, ...]
    seed: int
    share: Share

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the images of this process's share, changed."""
        if not self.kinds or not len(pixels):
            return pixels
        whole = torch.Size((self.share.whole, *pixels.shape[1:]))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for step in _steps(self.kinds, whole[-2], whole[-1]):
                drawn = step.forward_parameters(whole)
                pixels = step(pixels, params=_part(drawn, self.share, pixels.device))
        return pixels


def _steps(kinds: Sequence[str], height: int, width: int) -> list[Any]:
    from kornia.augmentation import RandomCrop, RandomHorizontalFlip

    padding = (height // PADDING, width // PADDING)
    made = {"crop": lambda: RandomCrop((height, width), padding=padding), "flip": lambda: RandomHorizontalFlip(p=0.5)}
    return [made[kind]() for kind in KINDS if kind in kinds]


def _part(drawn: dict[str, Any], share: Share, device: torch.device) -> dict[str, Any]:
    """Return the numbers of one share of the samples."""
    found = {}
    for name, value in drawn.items():
        if name in OF_ALL:
            found[name] = torch.tensor([share.stop - share.start, *value[1:].tolist()], device=value.device)
        else:
            found[name] = value[share.start : share.stop].to(device)
    return found


def check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds.

    Raises:
        InputError: one that there is not, or kornia is missing.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(
                f"There is no augmentation {kind!r}; the known ones are {', '.join(KINDS)}.", "unknown-name"
            )
    if kinds:
        try:
            import kornia.augmentation  # noqa: F401
        except ImportError as error:
            raise InputError(
                f'Augmentation needs kornia, which cannot be imported ({error}); pip install "onnxprune[torch]".',
                "not-installed",
            ) from error
    return tuple(kinds)
