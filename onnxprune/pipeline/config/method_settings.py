"""Settings of methods beside the options of a command: `vote=True` stands for `options={"rule": "vote"}`."""

from collections.abc import Collection, Mapping
from typing import Any

from onnxprune.errors import InputError


def with_method_settings(given: Mapping[str, Any], known: Collection[str], under: str) -> dict[str, Any]:
    """Return what was given, with every key that only a method knows among its settings; methods are loaded for those.

    Args:
        given: values by their keys.
        known: keys that are no settings of a method.
        under: the key of the settings.

    Raises:
        InputError: a setting that stands for one value is given another.
    """
    kept = {key: value for key, value in given.items() if key in known}
    if len(kept) == len(given):
        return kept
    from onnxprune.importance.method import spelled

    settings: list[tuple[str, Any]] = []
    for key in (key for key in given if key not in known):
        value, found = given[key], spelled(key, str(given.get("method", "")))
        if found is None:
            kept[key] = value
        elif found[1] is None:
            settings.append((found[0], value))
        elif not isinstance(value, bool):
            raise InputError(f"'{key}' is true or false, not {value!r}.", "bad-value")
        elif value:
            settings.append(found)
    others = kept.get(under, ())
    listed = others.items() if isinstance(others, Mapping) else [others] if isinstance(others, str) else others
    return {**kept, under: [*listed, *settings]} if settings else kept
