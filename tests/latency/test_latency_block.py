"""How many channels fill one block of the kernels, on machines that are made up."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed_machine import BLOCK

from onnxprune.latency.block import PROBED, block_of, width_block
from onnxprune.latency.device import Device
from onnxprune.latency.jobs import NARROW
from onnxprune.runtime.layout import layout_block


def sweep(block: int, fixed: float = 10.0) -> dict[int, float]:
    """Return times of a machine that fills its kernels by `block` channels."""
    return {width: fixed + 10.0 * block * -(-width // block) for width in (*NARROW, *PROBED)}


@pytest.mark.parametrize("block", [8, 16, 32])
def test_the_block_is_what_can_be_filled_up_for_nothing(block: int) -> None:
    assert block_of([sweep(block), sweep(block)])[0] == block


def test_odd_widths_that_are_slow_make_the_block_no_larger() -> None:
    slow = {width: time * (1.5 if width % 2 else 1.0) for width, time in sweep(16).items()}
    assert block_of([sweep(16), slow])[0] == 16


def test_a_machine_without_blocks_has_hardly_any() -> None:
    assert block_of([{width: float(width) for width in (*NARROW, *PROBED)}])[0] <= 2


@given(seed=st.integers(0, 1000))
def test_a_little_noise_does_not_change_the_block(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noisy = [{width: time * rng.uniform(0.99, 1.01) for width, time in sweep(16).items()} for _ in range(2)]
    assert block_of(noisy)[0] == 16


def test_narrow_widths_that_are_slower_than_a_block_are_not_worth_it() -> None:
    slow = {**sweep(16), 4: 1000.0, 8: 50.0, 12: 60.0}
    block, slow_ones = block_of([slow])
    assert block == 16
    assert 8 not in slow_ones
    assert 12 not in slow_ones
    assert {4, 1, 7, 15} <= slow_ones


def test_the_block_is_found_once(machine: dict[str, float]) -> None:
    assert width_block(Device())[0] == BLOCK
    calls = machine["calls"]
    assert width_block(Device())[0] == BLOCK
    assert machine["calls"] == calls > 0
    width_block(Device(threads=3))
    assert machine["calls"] > calls


def test_the_kernels_of_a_processor_show_their_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are powers of two, and the same for any number of threads; where there are none, they are timed."""
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path))
    block = layout_block()
    if block is None:
        pytest.skip("onnxruntime has no blocked layout on this processor")
    assert block in (4, 8, 16, 32)
    assert (
        width_block(Device()) == width_block(Device(threads=3)) == (block, frozenset(w for w in range(block) if w % 4))
    )


def test_other_providers_are_timed(machine: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.latency.block.layout_block", lambda: 16)
    assert width_block(Device())[0] == 16
    assert machine["calls"] == 0
    assert width_block(Device(provider="OtherExecutionProvider"))[0] == BLOCK
    assert machine["calls"] > 0
