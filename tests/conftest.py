"""Settings that all tests share.

hypothesis draws the same examples every time and never complains of slow ones. What is measured once and kept goes to a
folder of its own, in which the width block is known already: 8, whatever the machine. No test goes by what is timed, so
timings begin at once.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from timed_machine import made_up

from onnxprune.graph.storage.cache import write_cache
from onnxprune.latency import board
from onnxprune.latency.cache import BLOCK, block_key
from onnxprune.latency.device import Device

settings.register_profile(
    "onnxprune", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("onnxprune")


@pytest.fixture(scope="session", autouse=True)
def known_block(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what is measured in a temporary folder, and say that kernels are filled by 8 channels."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONNXPRUNE_CACHE", str(folder))
        patch.setattr(board, "SETTLE", 0.0)
        for threads in (None, 1, 2):
            write_cache(BLOCK, block_key(Device(threads)), {"block": 8, "slow": []})
        yield folder


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, float]:
    """Have a made-up machine time everything, see `timed_machine.made_up`."""
    return made_up(monkeypatch, tmp_path / "cache")
