"""What timings of layers and whole networks foretell, on machines that are made up."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.latency.model import PROBED, SMALL, LatencyTable, LayerTimes, Whole, block_of
from onnxprune.values.costs import CostTable, Term


def sweep(block: int, fixed: float = 10.0) -> dict[int, float]:
    """Return times of a machine that fills its kernels by `block` channels."""
    return {width: fixed + 10.0 * block * -(-width // block) for width in (*SMALL, *PROBED)}


@pytest.mark.parametrize("block", [8, 16, 32])
def test_the_block_is_what_can_be_filled_up_for_nothing(block: int) -> None:
    assert block_of([sweep(block), sweep(block)])[0] == block


def test_odd_widths_that_are_slow_make_the_block_no_larger() -> None:
    slow = {width: time * (1.5 if width % 2 else 1.0) for width, time in sweep(16).items()}
    assert block_of([sweep(16), slow])[0] == 16


def test_a_machine_without_blocks_has_hardly_any() -> None:
    assert block_of([{width: float(width) for width in (*SMALL, *PROBED)}])[0] <= 2


@given(seed=st.integers(0, 1000))
def test_a_little_noise_does_not_change_the_block(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noisy = [{width: time * rng.uniform(0.99, 1.01) for width, time in sweep(16).items()} for _ in range(2)]
    assert block_of(noisy)[0] == 16


def test_narrow_widths_that_are_slower_than_a_block_are_not_worth_it() -> None:
    slow = {**sweep(16), 4: 1000.0, 8: 50.0, 12: 60.0}
    block, barred = block_of([slow])
    assert block == 16
    assert 8 not in barred
    assert 12 not in barred
    assert {4, 1, 7, 15} <= barred


COSTS = CostTable(
    groups=("a", "b"),
    sizes=np.array([64.0, 64.0]),
    widths=np.array([64.0, 64.0]),
    multiplicity=np.eye(2),
    macs=(Term(0, 27.0, (0,)), Term(1, 9.0, (0, 1)), Term(2, 5.0, (1,))),
    params=(),
    made=(Term(-1, 100.0, (0,)), Term(-1, 100.0, (1,))),
)
KNOTS = np.array([16.0, 32.0, 64.0])


def layers() -> tuple[LayerTimes, ...]:
    alone = LayerTimes(0, "first", (0, None), (KNOTS, np.array([3.0])), KNOTS[:, None] * 0.001)
    both = LayerTimes(1, "second", (0, 1), (KNOTS, KNOTS), np.outer(KNOTS, KNOTS) * 0.001)
    return alone, both


def machine(counts: Mapping[str, int]) -> float:
    """Return what a made-up machine takes: its layers by half more, and for all else so much for every number."""
    a, b = (float(counts.get(name, 64)) for name in "ab")
    return 1.5 * (0.001 * a + 0.001 * a * b) + 0.2 + 1e-4 * 100 * (a + b) + 1e-3 * 5 * b


def table(**more: Any) -> LatencyTable:
    widths = [{}, {"a": 32, "b": 32}, {"a": 16, "b": 64}, {"a": 64, "b": 16}, {"a": 16, "b": 16}, {"a": 32}]
    wholes = tuple(Whole(kept, machine(kept), 0.0, 0.0) for kept in widths)
    machine_facts = {"processor": "made up", "onnxruntime": "1"}
    given: dict[str, Any] = {"machine": machine_facts, "threads": 1, "block": 16, "layers": layers()}
    return LatencyTable(model="", slow=(), wholes=wholes, noise=0.0, **{**given, **more})


@given(a=st.integers(1, 4), b=st.integers(1, 4))
def test_a_network_between_those_that_were_timed_is_foretold(a: int, b: int) -> None:
    counts = {"a": 16 * a, "b": 16 * b}
    assert table().clock(COSTS)(COSTS.widths_at(counts)) == pytest.approx(machine(counts), rel=1e-6)


def test_widths_count_as_filled_up_to_a_block() -> None:
    clock = table().clock(COSTS)
    one, other = (clock.parts(COSTS.widths_at({"a": width}))[0] for width in (33, 48))
    assert one == other


def test_a_narrower_layer_is_never_foretold_to_be_slower() -> None:
    first, second = layers()
    odd = np.array(second.times)
    odd[1] = 10.0
    second = LayerTimes(1, "second", (0, 1), (KNOTS, KNOTS), odd)
    assert (np.diff(second.least, axis=0) >= 0).all()
    clock = table(layers=(first, second)).clock(COSTS)
    assert clock.barred(COSTS, "a", [16, 32, 48, 64]) == {32, 48}
    assert clock.barred(COSTS, "b", [16, 32, 64]) == frozenset()


def test_the_device_is_named() -> None:
    assert table().device == "made up, 1 thread, onnxruntime 1"
    assert "default threads" in table(threads=None).device
