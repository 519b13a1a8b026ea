"""What was timed on this machine before: the width block of its kernels, and the profiles of networks."""

from collections.abc import Mapping
from typing import Any

from onnxprune._version import __version__
from onnxprune.graph.storage.cache import read_cache, write_cache
from onnxprune.latency.device import Device

BLOCK, PROFILE = "timed-block", "latency"


def block_key(device: Device) -> dict[str, Any]:
    """Return what the width block is kept by."""
    return {"version": __version__, **device.describe()}


def kept_block(device: Device) -> tuple[int, frozenset[int]] | None:
    """Return the width block and the slow widths below it; None: they were not found before."""
    found = read_cache(BLOCK, block_key(device))
    return None if found is None else (int(found["block"]), frozenset(found["slow"]))


def keep_block(device: Device, block: int, slow: frozenset[int]) -> None:
    """Keep the width block and the slow widths below it."""
    write_cache(BLOCK, block_key(device), {"block": block, "slow": sorted(slow)})


def kept_profile(header: Mapping[str, Any], device: Device) -> dict[str, Any] | None:
    """Return what was timed of the network with this header, see `table.header_of`; None: nothing."""
    found = read_cache(PROFILE, _profile_key(header, device))
    return None if found is None else dict(found)


def keep_profile(header: Mapping[str, Any], device: Device, found: Mapping[str, Any]) -> None:
    """Keep what was timed of a network."""
    write_cache(PROFILE, _profile_key(header, device), found)


def _profile_key(header: Mapping[str, Any], device: Device) -> dict[str, Any]:
    return {"version": __version__, **header, **device.describe()}
