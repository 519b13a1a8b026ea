"""Who hears of a run on the way, and what is written beside its result."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnxprune.values.results import Result as Result

Tell = Callable[[str, Any], None]
"""Receives the value of a finished stage by name, for those who want to show it at once.

`analysis` and `samples` bring their value; `working` brings in words what is begun and may take a while.
"""


Extra = Callable[[Result], Mapping[Path, bytes]]
"""Makes of the result what is to be written in the same step as the model, by path: a report."""


def no_extra(result: Result) -> Mapping[Path, bytes]:
    """Write nothing more."""
    return {}


def unheard(stage: str, value: Any) -> None:
    """Tell nobody."""
