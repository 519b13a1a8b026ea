"""Printing results on stdout: tables for people, JSON for programs."""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

import click

from onnxprune.report.blocks import Block
from onnxprune.report.terminal import open_console, show


def print_blocks(blocks: Iterable[Block], stream: TextIO | None = None) -> None:
    """Print a result for people; None: on standard output."""
    place = stream or sys.stdout
    show(blocks, open_console(place))
    place.flush()


def print_json(value: Any) -> None:
    """Print a result for programs."""
    click.echo(json.dumps(finite(value), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """Return `value` with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value
