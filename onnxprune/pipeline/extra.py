"""What is written beside a result, in the same step."""

from collections.abc import Callable, Mapping
from pathlib import Path

from onnxprune.values.results import Result

Extra = Callable[[Result], Mapping[Path, bytes]]
"""Makes of the result what is to be written as well, by path: a report."""


def no_extra(_: Result) -> Mapping[Path, bytes]:
    """Write nothing more."""
    return {}
