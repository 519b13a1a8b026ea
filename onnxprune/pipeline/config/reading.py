"""What people give for shares, sizes, lists and paths, on a shell, in a file or in Python, and what it means.

Each function is the converter of a field: text is read as on the shell, other values are taken as they are. A
ValueError says what is wrong, beginning with the value.
"""

import errno
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from onnxprune.errors import did_you_mean
from onnxprune.values.amount import BYTES, COUNTS, MILLISECONDS, Amount, read_amount
from onnxprune.values.conditions import Condition

if TYPE_CHECKING:
    from onnxprune.finetune.training.recipe import Recipe
    from onnxprune.selection.goal import Goal
    from onnxprune.selection.steering import Steering

V = TypeVar("V")

FEW = 1000
"""Most threads, and most steps."""

MOST = 2**31 - 1
"""Largest whole number."""

LARGEST = 16384
"""Most pixels along a side."""

SMALLEST = 1e-15
"""Smallest number but 0; its inverse is the largest."""

Size = int | tuple[int, int]
"""A length in pixels, or height and width."""

Pairs = Mapping[str, Any] | Iterable[str | tuple[str, Any]]
"""Names with values."""


def path(value: str | os.PathLike[str]) -> Path:
    """Return a path.

    Raises:
        ValueError: it is empty, or none that a file system takes.
    """
    found = os.fspath(value)
    if not isinstance(found, str) or not found or "\0" in found:
        raise ValueError(f"{value!r} is no path")
    try:
        os.lstat(found)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{value!r} is longer than a path may be") from None
    return Path(found)


def file(value: str | os.PathLike[str]) -> Path:
    """Return the path of a file, which ends in a name.

    Raises:
        ValueError: it has none.
    """
    found = path(value)
    if found.name in ("", ".."):
        raise ValueError(f"'{value}' names no file")
    return found


def share(value: float | str) -> float:
    """Read a share of something: `50%`, `50 %`, `0.5` or 0.5.

    Raises:
        ValueError: it is none.
    """
    text = value.strip() if isinstance(value, str) else value
    number = _number(text.removesuffix("%") if isinstance(text, str) else text)
    if number is None:
        raise ValueError(f"{text!r} is no percentage; write it as 50% or 0.5")
    percent = isinstance(text, str) and text.endswith("%")
    found = number / 100 if percent else number
    if not 0 <= found <= 1:
        hint = f"; did you mean {text}%?" if 1 < number <= 100 and not percent else ""
        raise ValueError(f"{text!r} is not between 0% and 100%{hint}")
    return found


def conditions(value: str | Condition | Sequence[str | Condition]) -> tuple[Condition, ...]:
    """Read conditions, one or several.

    Raises:
        ValueError: one is none.
    """
    several = [value] if isinstance(value, str | Condition) else value
    return tuple(one if isinstance(one, Condition) else Condition.read(one) for one in several)


def certainty(value: float | str) -> float:
    """Read a confidence, a share between a half and one: `95%` or 0.95.

    Raises:
        ValueError: it is none.
    """
    found = share(value)
    if not 0.5 <= found < 1:
        raise ValueError(f"{value!r} is no confidence from 50% to below 100%, such as 95%")
    return found


def points(value: float | str) -> float:
    """Read percentage points, `5` or `5%`, as a share; a number is such a share already: 0.05.

    Raises:
        ValueError: they are none.
    """
    if not isinstance(value, str):
        found = _number(value)
        if found is None or not 0 <= found <= 1:
            raise ValueError(f"{value!r} is no share from 0 to 1; write 5 points as 0.05, or as text, '5'")
        return found
    found = _number(value.strip().removesuffix("%"))
    if found is None or not 0 <= found <= 100:
        raise ValueError(f"{value!r} is no number of points from 0 to 100; write it as 5 or 5%")
    return found / 100


def params(value: Amount | float | str) -> Amount:
    """Read a share of the parameters, or how many.

    Raises:
        ValueError: it is neither.
    """
    return _amount(value, COUNTS)


def file_size(value: Amount | float | str) -> Amount:
    """Read a share of the file's bytes, or how many.

    Raises:
        ValueError: it is neither.
    """
    return _amount(value, BYTES)


def bytes_of_memory(value: int | str) -> int:
    """Read a number of bytes: `2GB`, `512MiB`.

    Raises:
        ValueError: it is none.
    """
    found = None if isinstance(value, int) else _amount(value, BYTES)
    number = value if isinstance(value, int) else 0 if found is None or found.is_share else int(found.number)
    if number < 1:
        raise ValueError(f"{value!r} is no number of bytes; write it as 2GB or 512MiB")
    return number


def duration(value: Amount | float | str) -> Amount:
    """Read a share of the latency, or a time.

    Raises:
        ValueError: it is neither.
    """
    return _amount(value, MILLISECONDS)


def _amount(value: Amount | float | str, units: Mapping[str, float]) -> Amount:
    try:
        return read_amount(value, units)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{value!r} is no budget ({error}); write it as 50% or 1.5M") from None


def block(value: int | str | None) -> int | None:
    """Read a number of channels; `auto` is None.

    Raises:
        ValueError: it is none.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() == "auto"):
        return None
    return _whole(value, 1, "is no number of channels from 1 up; write it as 8, or auto")


def few(value: int | str) -> int:
    """Read a whole number from 1 to `FEW`.

    Raises:
        ValueError: it is none.
    """
    return _whole(value, 1, f"is no whole number from 1 to {FEW}", most=FEW)


def positive(value: int | str) -> int:
    """Read a whole number from 1 up.

    Raises:
        ValueError: it is none.
    """
    return _whole(value, 1, "is no whole number from 1 up")


def natural(value: int | str) -> int:
    """Read a whole number from 0 up.

    Raises:
        ValueError: it is none.
    """
    return _whole(value, 0, "is no whole number from 0 up")


def _whole(value: int | str, least: int, refusal: str, *, most: int = MOST) -> int:
    try:
        found = value if isinstance(value, bool) else int(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} {refusal}") from None
    whole = isinstance(value, str) or found == value
    if isinstance(found, bool) or not whole or not least <= found <= most:
        raise ValueError(f"{value!r} {refusal}")
    return found


def number(value: float | str) -> float:
    """Read a number, or a fraction such as `1/255`.

    Raises:
        ValueError: it is none.
    """
    above, slash, below = value.partition("/") if isinstance(value, str) else (value, "", "")
    numerator, denominator = _number(above), _number(below) if slash else 1.0
    if numerator is None or not denominator:
        raise ValueError(f"{value!r} is no number; write it as 0.00392 or 1/255")
    return _in_range(value, numerator / denominator)


def multiple(value: float | str) -> float:
    """Read a number that is not negative.

    Raises:
        ValueError: it is none.
    """
    found = number(value)
    if found < 0:
        raise ValueError(f"{value!r} is negative; write it as 0 or more")
    return found


def numbers(value: float | str | Sequence[float]) -> tuple[float, ...]:
    """Read numbers with commas between them, such as `.485,.456,.406`.

    Raises:
        ValueError: they are none.
    """
    parts = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int | float) else value
    found = [_number(part) for part in parts]
    if any(each is None for each in found):
        raise ValueError(f"{value!r} is no list of numbers; write it as .485,.456,.406")
    return tuple(_in_range(value, each) for each in found if each is not None)


def names(value: str | int | Iterable[str | int]) -> tuple[str, ...]:
    """Read names with commas between them, such as `cat,dog`, or numbers.

    Raises:
        ValueError: one of them is empty.
    """
    several = [value] if isinstance(value, int) else value.split(",") if isinstance(value, str) else value
    found = tuple(str(part).strip() for part in several)
    if not all(found):
        raise ValueError(f"{value!r} has an empty name; write it as cat,dog,frog")
    return found


def patterns(value: str | Iterable[str]) -> tuple[str, ...]:
    """Read patterns of layers: one, or several.

    Raises:
        ValueError: one is no text.
    """
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(pattern, str) for pattern in found):
        raise ValueError(f'{value!r} is no list of patterns such as ["stem*"]')
    return found


def size(value: str | int | Sequence[int]) -> Size:
    """Read a length in pixels, or `HEIGHT,WIDTH`.

    Raises:
        ValueError: it is neither.
    """
    text = value if isinstance(value, str) else str(value) if isinstance(value, int) else ",".join(map(str, value))
    parts = [part.strip() for part in text.lower().replace("x", ",").split(",")]
    if len(parts) > 2 or not all(part.isdecimal() and len(part) < 6 and 0 < int(part) <= LARGEST for part in parts):
        raise ValueError(f"{value!r} is no size up to {LARGEST}; write it as 224 or HEIGHT,WIDTH, such as 224,224")
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


def ratios(value: Pairs) -> tuple[tuple[str, float], ...]:
    """Read patterns of layers with the share of their channels that goes, `PATTERN=SHARE`.

    Raises:
        ValueError: one has another form.
    """
    return tuple((pattern, share(each)) for pattern, each in _pairs(value, "write it as 'layer3.*=70%'", last=True))


def shapes(value: Pairs) -> dict[str, tuple[int | None, ...]]:
    """Read shapes of inputs, `NAME=SIZES`; what is no number is free.

    Raises:
        ValueError: one has another form.
    """
    form = "write it as x=1,3,48,320"
    found: dict[str, tuple[int | None, ...]] = {}
    for name, each in _pairs(value, form, last=True):
        parts = [part.strip() for part in re.split("[,x]", each)] if isinstance(each, str) else list(each)
        if not parts or any(str(part).lstrip("-").isdecimal() and int(part) < 1 for part in parts):
            raise ValueError(f"{each!r} is no shape; {form}")
        found[name] = tuple(int(part) if str(part).isdecimal() else None for part in parts)
    return found


def settings(value: Pairs) -> dict[str, Any]:
    """Read settings of a method, `NAME=VALUE`.

    Raises:
        ValueError: one has another form.
    """
    found: dict[str, Any] = {}
    for name, each in _pairs(value, "write it as NAME=VALUE"):
        if name in found and found[name] != each:
            raise ValueError(f"{name!r} is {found[name]!r} and {each!r}; leave one of the two out")
        found[name] = each
    return found


def _pairs(value: Pairs, form: str, *, last: bool = False) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    if isinstance(value, str) or not isinstance(value, Iterable):
        value = [value]
    for entry in value.items() if isinstance(value, Mapping) else value:
        if isinstance(entry, str):
            name, equals, each = entry.rpartition("=") if last else entry.partition("=")
            if not name.strip() or not equals:
                raise ValueError(f"{entry!r} has another form; {form}")
            entry = (name.strip(), each.strip())
        if not isinstance(entry, tuple | list) or len(entry) != 2 or not isinstance(entry[0], str):
            raise ValueError(f"{entry!r} has another form; {form}")
        found.append((entry[0], entry[1]))
    return found


ALLOWED = ("approximate", "interface")
"""What may be allowed beside what is exact and leaves the inputs and outputs as they are."""


def allowed(value: str | Iterable[str]) -> tuple[str, ...]:
    """Read what may be cut beside exact groups, such as `approximate,interface`; `exact` is nothing else.

    Raises:
        ValueError: one is none of these.
    """
    found = names(value)
    for name in found:
        if name not in ("exact", *ALLOWED):
            nearest = did_you_mean(name, ALLOWED)
            raise ValueError(f"{name!r} is not one of exact, {', '.join(ALLOWED)}{nearest}")
    return tuple(name for name in ALLOWED if name in found)


def goal(value: "Goal | None") -> "Goal | None":
    """Take a goal.

    Raises:
        ValueError: it is none.
    """
    return _of_class(value, "Goal")


def steering(value: "Steering | None") -> "Steering | None":
    """Take what is said of single groups.

    Raises:
        ValueError: it is something else.
    """
    return _of_class(value, "Steering")


def recipe(value: "Recipe | None") -> "Recipe | None":
    """Take a recipe.

    Raises:
        ValueError: it is none.
    """
    return _of_class(value, "Recipe")


def _of_class(value: V, name: str) -> V:
    if value is not None and type(value).__name__ != name:
        raise ValueError(f"{value!r} is no {name}")
    return value


def files(value: Mapping[str, Any]) -> dict[str, Path]:
    """Read paths by what messages call them.

    Raises:
        ValueError: they are none.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is no table of paths")
    return {str(name): path(each) for name, each in value.items()}


def libraries(value: Any) -> tuple[Path, ...]:
    """Read paths of files: one, or several.

    Raises:
        ValueError: one of them is none.
    """
    several = isinstance(value, Iterable) and not isinstance(value, str | os.PathLike)
    return tuple(file(each) for each in (value if several else (value,)))


def switch(value: bool) -> bool:
    """Take a switch.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _in_range(value: Any, found: float) -> float:
    """Return a number that single precision can hold, and its square too.

    Raises:
        ValueError: it is too large or too small for that.
    """
    if found and not SMALLEST <= abs(found) <= 1 / SMALLEST:
        raise ValueError(f"{value!r} is out of range; a number lies between {SMALLEST:g} and {1 / SMALLEST:g}, or is 0")
    return found


def _number(value: Any) -> float | None:
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
