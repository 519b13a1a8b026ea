"""What was measured once and is kept for the next run, in the user's cache folder or that of ONNXPRUNE_CACHE.

A file is found by a digest of all that the measurement depends on, which it holds as well, so that no other is taken
for it.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from onnxprune.errors import InputError
from onnxprune.graph.storage.staging import write_bytes
from onnxprune.values.ordinary_file import read_text


def cache_folder() -> Path:
    """Return where measurements are kept."""
    given = os.environ.get("ONNXPRUNE_CACHE")
    return Path(given) if given else platformdirs.user_cache_path("onnxprune")


def cache_file(what: str, key: Mapping[str, Any]) -> Path:
    """Return where a measurement is kept, whether it is there or not.

    Args:
        what: was measured, the beginning of the name.
        key: all that it depends on, as JSON types.
    """
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=12).hexdigest()
    return cache_folder() / f"{what}-{name}.json"


def read_cache(what: str, key: Mapping[str, Any]) -> Any:
    """Return what was measured before; None where there is nothing, or nothing sound."""
    try:
        stored = json.loads(read_text(cache_file(what, key)))
        return stored["found"] if stored["key"] == json.loads(json.dumps(key)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_cache(what: str, key: Mapping[str, Any], found: Any) -> None:
    """Keep what was measured, if that can be done: without it the next run takes longer, and that is all."""
    path = cache_file(what, key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, (json.dumps({"key": key, "found": found}, indent=1) + "\n").encode())
    except (OSError, InputError):
        return
