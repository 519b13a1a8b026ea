"""Short texts for values that hold much: what a prompt shows of a model is not its weights."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

C = TypeVar("C", bound=type)

LONGEST = 60
"""Characters that are shown of a field."""

MOST = 9
"""Fields that are shown, one a line."""


def brief(cls: C) -> C:
    """Make `repr` of a dataclass short: its first fields, one a line, and of what they hold how much it is.

    Example:
        >>> from dataclasses import dataclass
        >>> @brief
        ... @dataclass
        ... class Pair:
        ...     name: str
        ...     values: tuple[int, ...]
        >>> Pair("a", (1, 2, 3))
        Pair(name='a', values=3 entries)
    """
    cls.__repr__ = _shown  # type: ignore[assignment]
    return cls


def _shown(value: Any) -> str:
    known = [f"{field.name}={_field(getattr(value, field.name))}" for field in fields(value) if field.repr]
    rest = len(known) - MOST
    parts = known if rest <= 0 else [*known[: MOST - 1], f"and {rest + 1} more"]
    line = ", ".join(parts)
    name = type(value).__name__
    return f"{name}({line})" if len(line) <= LONGEST else f"{name}(" + ",\n    ".join(parts) + ")"


def _field(value: Any) -> str:
    """Return what is shown of a field: how much it holds, or the value where that is short."""
    if isinstance(value, np.ndarray):
        return f"array of {value.dtype} {list(value.shape)}"
    if isinstance(value, Mapping | Set) or (isinstance(value, Sequence) and not isinstance(value, str | bytes)):
        entries = "1 entry" if len(value) == 1 else f"{len(value)} entries"
        text = repr(value) if len(value) <= 2 and all(isinstance(one, str | int | float) for one in value) else entries
        return text if len(text) <= LONGEST else entries
    if isinstance(value, str | Path | int | float | bool | None):
        text = str(value) if isinstance(value, Path) else repr(value)
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."
    return type(value).__name__
