"""From the preprocessing flags to the pixels' treatment."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from onnxprune.errors import InputError
from onnxprune.values.preprocess import Preprocess

_SCALING = ("mean", "std", "scale")
_GEOMETRY = ("resize", "crop", "layout", "channel_order")


def read_preprocessing(flags: Mapping[str, Any], known: Preprocess | None = None) -> tuple[Preprocess, str | None]:
    """Return the treatment of pixels and where its scaling comes from (see `Settings.scaling`).

    Numbers alone are taken as they are; with a preset they replace the preset's; without either the scaling is left
    to be found, unless it is `known`.

    Args:
        flags: the flags by name, None where not given.
        known: what a plan was made with; geometry and scaling that no flag replaces come from it.

    Raises:
        InputError: numbers together with `auto`, which finds them itself, or values that cannot be applied.
    """
    geometry = {name: flags[name] for name in _GEOMETRY if flags[name] is not None}
    numbers = {name: flags[name] for name in _SCALING if flags[name] is not None}
    preset = flags["preprocess"]
    base = replace(known or Preprocess(), **geometry)
    if preset == "auto" and numbers:
        raise InputError(f"--preprocess auto finds --{next(iter(numbers))} itself; name a preset or leave it out.")
    if preset is not None and not numbers:
        return base, str(preset)
    if preset is not None:
        return replace(base.with_preset(preset), **numbers), "explicit"
    if numbers or known is not None:
        return replace(base, **numbers), "explicit"
    return base, None
