"""What users type for shares, sizes and lists of numbers, and what it means. Each is a `type` of a click option."""

import math
from collections.abc import Callable, Mapping

import click

from onnxprune.values.amount import Amount, read_amount


def share(text: str) -> float:
    """Read a share of something: `50%`, `50 %` or `0.5`.

    Raises:
        click.BadParameter: it is none.
    """
    text = text.strip()
    number = _number(text.removesuffix("%"))
    if number is None:
        raise click.BadParameter(f"{text!r} is no percentage; write it as 50% or 0.5")
    found = number / 100 if text.endswith("%") else number
    if not 0 <= found <= 1:
        hint = f"; did you mean {text}%?" if 1 < number <= 100 and not text.endswith("%") else ""
        raise click.BadParameter(f"{text!r} is not between 0% and 100%{hint}")
    return found


def amount(units: Mapping[str, float]) -> Callable[[str], Amount]:
    """Return what reads a share of something, or how much of it in one of `units`."""

    def read(text: str) -> Amount:
        try:
            return read_amount(text, units)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is no budget ({error}); write it as 50% or 1.5M") from None

    read.__name__ = "amount"
    return read


def block(text: str) -> int | None:
    """Read a number of channels; `auto` is None.

    Raises:
        click.BadParameter: it is none.
    """
    if text.strip().lower() == "auto":
        return None
    try:
        found = int(text)
    except ValueError:
        found = 0
    if found < 1:
        raise click.BadParameter(f"{text!r} is no number of channels from 1 up; write it as 8, or auto")
    return found


def points(text: str) -> float:
    """Read percentage points, `5` or `5%`, as a share: 0.05.

    Raises:
        click.BadParameter: they are none.
    """
    found = _number(text.strip().removesuffix("%"))
    if found is None or not 0 <= found <= 100:
        raise click.BadParameter(f"{text!r} is no number of points from 0 to 100; write it as 5 or 5%")
    return found / 100


def number(text: str) -> float:
    """Read a number, or a fraction such as `1/255`.

    Raises:
        click.BadParameter: it is none.
    """
    above, slash, below = text.partition("/")
    numerator, denominator = _number(above), _number(below) if slash else 1.0
    if numerator is None or not denominator:
        raise click.BadParameter(f"{text!r} is no number; write it as 0.00392 or 1/255")
    return numerator / denominator


def multiple(text: str) -> float:
    """Read a number that is not negative.

    Raises:
        click.BadParameter: it is none.
    """
    found = number(text)
    if found < 0:
        raise click.BadParameter(f"{text!r} is negative; write it as 0 or more")
    return found


def numbers(text: str) -> tuple[float, ...]:
    """Read numbers with commas between them, such as `.485,.456,.406`.

    Raises:
        click.BadParameter: they are none.
    """
    found = [_number(part) for part in text.split(",")]
    if any(value is None for value in found):
        raise click.BadParameter(f"{text!r} is no list of numbers; write it as .485,.456,.406")
    return tuple(value for value in found if value is not None)


def names(text: str) -> tuple[str, ...]:
    """Read names with commas between them, such as `cat,dog`.

    Raises:
        click.BadParameter: one of them is empty.
    """
    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise click.BadParameter(f"{text!r} has an empty name; write it as cat,dog,frog")
    return found


def size(text: str) -> int | tuple[int, int]:
    """Read a length in pixels, or `HEIGHT,WIDTH`.

    Raises:
        click.BadParameter: it is neither.
    """
    parts = [part.strip() for part in text.lower().replace("x", ",").split(",")]
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is no size; write it as 224 or HEIGHT,WIDTH, such as 224,224")
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


def ratio_for(text: str) -> tuple[str, float]:
    """Read a pattern of layers with the share of their channels that goes, `PATTERN=SHARE`.

    Raises:
        click.BadParameter: it has another form.
    """
    pattern, equals, value = text.rpartition("=")
    if not pattern.strip() or not equals:
        raise click.BadParameter(f"{text!r} has another form; write it as 'layer3.*=70%'")
    return pattern.strip(), share(value)


def setting(text: str) -> tuple[str, str]:
    """Read a setting of a method, `NAME=VALUE`.

    Raises:
        click.BadParameter: it has another form.
    """
    name, equals, value = text.partition("=")
    if not name.strip() or not equals:
        raise click.BadParameter(f"{text!r} is no setting; write it as NAME=VALUE")
    return name.strip(), value.strip()


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
