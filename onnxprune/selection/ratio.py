"""A share of the channels of every group."""

import math
from collections.abc import Sequence

from onnxprune.errors import InputError
from onnxprune.selection.widths import Width


def by_ratio(widths: Sequence[Width], ratio: float) -> dict[str, int]:
    """Keep floor(n (1 - ratio)) channels of every group, then round to the nearest block.

    Raises:
        InputError: `ratio` is not in [0, 1).
    """
    if not 0 <= ratio < 1:
        raise InputError(
            f"--ratio is the share of channels to remove, from 0 up to but not including 1, not {ratio:g}.",
            "bad-value",
        )
    return {width.name: width.nearest(math.floor(width.size * (1 - ratio) + 1e-9)) for width in widths}
