"""From flags and a small file to what is said of single groups."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxprune.cli.options import FILE
from onnxprune.cli.parameters import ratio_for, share
from onnxprune.cli.sections import section, stack
from onnxprune.errors import InputError
from onnxprune.selection.steering import Steering
from onnxprune.selection.widths import FLOOR

_steering = section("Single layers")

steering_options = stack(
    _steering(
        "--keep",
        multiple=True,
        metavar="PATTERN",
        help="Leave layers whole, such as 'stem*' or 'layer3.*': names of layers or weights, or parts of these between "
        "slashes; may be given several times. What is coupled to them stays whole as well.",
    ),
    _steering(
        "--ratio-for",
        type=ratio_for,
        multiple=True,
        metavar="PATTERN=SHARE",
        help="Remove this share of the channels of these layers, whatever the budgets say of others.",
    ),
    _steering(
        "--min-keep", type=share, metavar="SHARE", help="Leave at least this share of every group. Default: 10%."
    ),
    _steering(
        "--steer",
        type=FILE,
        metavar="FILE.toml",
        help="Read min-keep, keep = [...] and a table [ratio-for] from this file; flags are added to them.",
    ),
)


def read_steering(flags: Mapping[str, Any]) -> Steering:
    """Return what the flags and the file say of single groups.

    Raises:
        InputError: a file that cannot be read, or that holds something else.
    """
    found = Steering() if flags["steer"] is None else read_file(flags["steer"])
    least = found.min_keep if flags["min_keep"] is None else flags["min_keep"]
    return Steering(least, (*found.keep, *flags["keep"]), (*found.ratios, *flags["ratio_for"]))


def read_file(path: Path) -> Steering:
    """Return what a file says of single groups.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no file '{path}' to steer by.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"'{path}' cannot be read as TOML ({error}).") from None
    unknown = sorted(content.keys() - {"min-keep", "keep", "ratio-for"})
    if unknown:
        raise InputError(f"'{path}' says {unknown[0]!r}; known are min-keep, keep and the table [ratio-for].")
    least, keep, ratios = content.get("min-keep", FLOOR), content.get("keep", []), content.get("ratio-for", {})
    numbers = [least, *(ratios.values() if isinstance(ratios, dict) else [None])]
    if any(type(number) not in (int, float) for number in numbers):
        raise InputError(f"'{path}': min-keep and every entry of [ratio-for] is a number such as 0.3.")
    if not isinstance(keep, list) or not all(isinstance(pattern, str) for pattern in keep):
        raise InputError(f"'{path}': keep is a list of patterns such as [\"stem*\"].")
    return Steering(float(least), tuple(keep), tuple((pattern, float(ratio)) for pattern, ratio in ratios.items()))
