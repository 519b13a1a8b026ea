"""Configuration files: TOML whose keys are the options of a command."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs

from onnxprune.errors import InputError
from onnxprune.pipeline.config.base import flags_of, options_of
from onnxprune.pipeline.config.method_settings import with_method_settings
from onnxprune.pipeline.config.reading import settings
from onnxprune.values.ordinary_file import read_text

POINTS = "POINTS"
"""What stands for a number of percentage points in the help."""

SHELL_ONLY = frozenset({"config", "custom-ops", "debug", "json", "progress", "quiet", "steer", "verbose"})
"""Options of the command line itself, and what loads code, which a file from elsewhere must not."""


def read_file(path: Path, config: type) -> dict[str, Any]:
    """Return what a file says, by the fields of `config`.

    Keys are the names of the options, or of the arguments, with `-` or `_`. A number of points is what it is on the
    shell: `max-drop = 1` is one point.

    Raises:
        InputError: it cannot be read, or has a key that is no option.
    """
    try:
        content = tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise InputError(f"There is no file '{path}' to read options from.", "missing-file") from None
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}).", "unreadable-file") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"'{path}' cannot be read as TOML ({error}).", "unreadable-file") from None
    names = _names(config)
    if "option" in names:
        content = with_method_settings(content, {key for key in content if key.replace("_", "-") in names}, "option")
    found: dict[str, Any] = {}
    for key, value in content.items():
        plain = key.replace("_", "-")
        if plain in SHELL_ONLY:
            raise InputError(f"'{path}' says {key!r}, which is asked for on the command line alone.", "unknown-name")
        if plain not in names:
            raise InputError(f"'{path}' says {key!r}, which is no option{_nearest(plain, names)}", "unknown-name")
        name, turned = names[plain]
        if name in found:
            raise InputError(f"'{path}' says {plain!r} twice, with - and with _; leave one out.", "conflicting-options")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        points = is_number and options_of(config)[name][1].metavar == POINTS  # in Python a number is a share
        found[name] = str(value) if points else not value if turned and isinstance(value, bool) else value
    return found


def joined(first: Mapping[str, Any], then: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Return both, the second before the first, but for options that may be given several times: these add up."""
    options = options_of(config)
    many = {name for name, (_, option) in options.items() if option.many}
    both = {**first, **then}
    return {
        name: _joined(options[name][0], first[name], then[name])
        if name in many and name in first and name in then
        else value
        for name, value in both.items()
    }


def _joined(field: "attrs.Attribute[Any]", first: Any, then: Any) -> Any:
    """Return settings with those of the command line before those of a file, and lists one after the other."""
    is_table = getattr(field.default, "factory", None) is dict
    return {**settings(first), **settings(then)} if is_table else _sum(first, then)


def _sum(first: Any, then: Any) -> Any:
    """Return a list or a table of a file with what the command line adds."""
    added = [f"{name}={value}" for name, value in first.items()] if isinstance(first, Mapping) else first
    return [*([added] if isinstance(added, str) else added), *then] if not isinstance(added, int | float) else added


def _names(config: type) -> dict[str, tuple[str, bool]]:
    """Return the fields by the keys that stand for them, and whether a key says the opposite."""
    found: dict[str, tuple[str, bool]] = {}
    for name, (field, _) in options_of(config).items():
        key = flags_of(field)[-1].removeprefix("--")
        found[key] = (name, key.startswith("no-"))
    return found


def _nearest(key: str, names: Mapping[str, Any]) -> str:
    close = get_close_matches(key, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "."
