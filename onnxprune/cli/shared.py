"""From the flags that commands share to the settings of a run."""

from collections.abc import Mapping
from typing import Any

from onnxprune.cli.preprocessing import read_preprocessing
from onnxprune.values.preprocess import Preprocess

SAME = ("model", "data", "output", "labels", "holdout", "seed", "threads")
"""Flags that are settings under the same name."""


def shared_settings(flags: Mapping[str, Any], known: Preprocess | None = None, **more: Any) -> Any:
    """Return the `Settings` of the flags that every command has, with what a command adds.

    Args:
        flags: the flags by name.
        known: the treatment of pixels that a plan was made with.
        more: further settings, which go before those of the flags.

    Raises:
        InputError: a treatment of pixels that contradicts itself.
    """
    from onnxprune.pipeline.config import Settings

    preprocess, scaling = read_preprocessing(flags, known)
    same = {name: flags[name] for name in SAME if name in flags}
    shared = {
        "preprocess": preprocess,
        "scaling": scaling,
        "classes": flags.get("classes") or (),
        "quantize": flags.get("quantize"),
        "quantized_output": flags.get("quantized"),
        "check_accuracy": not flags.get("no_accuracy_check", False),
    }
    return Settings(**{**same, **shared, **more})
