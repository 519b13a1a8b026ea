"""What timings of layers and whole networks predict, on machines that are made up."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.latency.excluded import slower_widths
from onnxprune.latency.model import fitted
from onnxprune.latency.table import LatencyTable, LayerTimes, NetworkTimes
from onnxprune.values.costs import CostTable, Term

COSTS = CostTable(
    groups=("a", "b"),
    sizes=np.array([64.0, 64.0]),
    widths=np.array([64.0, 64.0]),
    multiplicity=np.eye(2),
    macs=(Term(0, 27.0, (0,)), Term(1, 9.0, (0, 1)), Term(2, 5.0, (1,))),
    params=(),
    made=(Term(-1, 100.0, (0,)), Term(-1, 100.0, (1,))),
)
WIDTHS = np.array([16.0, 32.0, 64.0])


def layers() -> tuple[LayerTimes, ...]:
    alone = LayerTimes(0, "first", (0, None), (WIDTHS, np.array([3.0])), WIDTHS[:, None] * 0.001)
    both = LayerTimes(1, "second", (0, 1), (WIDTHS, WIDTHS), np.outer(WIDTHS, WIDTHS) * 0.001)
    return alone, both


def machine(counts: Mapping[str, int]) -> float:
    """Return what a made-up machine takes: its layers by half more, and for all else so much for every number."""
    a, b = (float(counts.get(name, 64)) for name in "ab")
    return 1.5 * (0.001 * a + 0.001 * a * b) + 0.2 + 1e-4 * 100 * (a + b) + 1e-3 * 5 * b


def table(**more: Any) -> LatencyTable:
    widths = [{}, {"a": 32, "b": 32}, {"a": 16, "b": 64}, {"a": 64, "b": 16}, {"a": 16, "b": 16}, {"a": 32}]
    networks = tuple(NetworkTimes(kept, machine(kept), 0.0, 0.0) for kept in widths)
    machine_facts = {"processor": "made up", "onnxruntime": "1"}
    given: dict[str, Any] = {"machine": machine_facts, "threads": 1, "block": 16, "layers": layers()}
    return LatencyTable(model="", slow=(), networks=networks, noise=0.0, **{**given, **more})


@given(a=st.integers(1, 4), b=st.integers(1, 4))
def test_a_network_between_those_that_were_timed_is_predicted(a: int, b: int) -> None:
    counts = {"a": 16 * a, "b": 16 * b}
    assert fitted(table(), COSTS)(COSTS.widths_at(counts)) == pytest.approx(machine(counts), rel=1e-6)


def test_widths_count_as_filled_up_to_a_block() -> None:
    predicted = fitted(table(), COSTS)
    one, other = (predicted.parts(COSTS.widths_at({"a": width}))[0] for width in (33, 48))
    assert one == other


def test_a_narrower_layer_is_never_predicted_to_be_slower() -> None:
    _, second = layers()
    odd = np.array(second.times)
    odd[1] = 10.0
    second = LayerTimes(1, "second", (0, 1), (WIDTHS, WIDTHS), odd)
    assert (np.diff(second.least, axis=0) >= 0).all()


def test_widths_at_which_a_layer_is_slower_than_at_a_wider_one_are_found() -> None:
    first, second = layers()
    odd = np.array(second.times)
    odd[1] = 10.0
    timed = table(layers=(first, LayerTimes(1, "second", (0, 1), (WIDTHS, WIDTHS), odd)))
    assert slower_widths(timed, COSTS, "a", [16, 32, 48, 64]) == {32, 48}
    assert slower_widths(timed, COSTS, "b", [16, 32, 64]) == frozenset()


def test_the_device_is_named() -> None:
    assert table().device == "made up, 1 thread, onnxruntime 1"
    assert "default threads" in table(threads=None).device
