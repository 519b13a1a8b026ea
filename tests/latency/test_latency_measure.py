"""Side-by-side latency: models take turns, the budget ends them, the ratio shows a heavier model."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxprune.latency import board
from onnxprune.latency.measure import MIN_REPEATS, measure
from onnxprune.runtime import Feeds, Session


def products(depth: int) -> bytes:
    """Return a model of so many products."""
    body = "".join(f"h{i + 1} = MatMul(h{i}, h{i}) " for i in range(depth))
    text = f"g (float[4, 4] h0) => (float[4, 4] h{depth}) {{ {body} }}"
    content: bytes = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}').SerializeToString()
    return content


class Recorder(Session):
    """A model that notes each of its calls."""

    def __init__(self, name: str, calls: list[str], depth: int = 1) -> None:
        super().__init__(products(depth), name=name, threads=1)
        self.calls = calls

    def run(self, feeds: Feeds, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        self.calls.append(self.name)
        return super().run(feeds, outputs)


FEEDS = {"h0": np.eye(4, dtype=np.float32)}


def test_models_take_turns_and_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    sessions = {name: Recorder(name, calls) for name in "ab"}
    result = measure(sessions, FEEDS, repeats=7, warmup=2, budget_seconds=60)
    warm_up, turn, rest = ["a", "b"] * 2, ["a"] * 6 + ["b"] * 6, ["a"] * 3 + ["b"] * 3
    assert calls == warm_up + turn + rest, "the first call of a turn is not timed"
    assert {name: latency.repeats for name, latency in result.items()} == {"a": 7, "b": 7}
    assert result["a"].batch == 4


def test_turns_begin_with_untimed_calls_for_as_long_as_threads_take_to_part() -> None:
    calls: list[str] = []
    times = board.in_turns([partial(calls.append, name) for name in "ab"], 0, 3, settle=0.01)
    assert [len(found) for found in times] == [3, 3]
    assert calls == sorted(calls)
    assert min(calls.count("a"), calls.count("b")) > 3 + 1


@pytest.mark.parametrize(("threads", "settle"), [(1, 0.0), (2, 0.5), (None, 0.5)])
def test_models_of_one_thread_begin_their_turns_at_once(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, settle: float
) -> None:
    settled: list[float] = []

    def noted(calls: Sequence[Any], seconds: float, most: int, settle: float) -> list[list[float]]:
        settled.append(settle)
        return [[1.0] for _ in calls]

    monkeypatch.setattr(board, "SETTLE", 0.5)
    monkeypatch.setattr(board, "in_turns", noted)
    model = products(1)
    measure({"a": Session(model, threads=threads)}, FEEDS)
    board.time_whole([model], {"h0": (4, 4)}, threads)
    assert settled == [settle, settle]


def test_spent_budget_leaves_the_minimum() -> None:
    calls: list[str] = []
    result = measure({"a": Recorder("a", calls)}, FEEDS, repeats=1000, warmup=1000, budget_seconds=0)
    assert result["a"].repeats == MIN_REPEATS
    assert len(calls) == 1 + 1 + MIN_REPEATS


def test_percentiles_are_ordered_and_a_deep_model_is_slower() -> None:
    calls: list[str] = []
    sessions = {"flat": Recorder("flat", calls), "deep": Recorder("deep", calls, depth=300)}
    result = measure(sessions, FEEDS, repeats=15, warmup=2, budget_seconds=5)
    for latency in result.values():
        assert 0 < latency.p10_ms <= latency.median_ms <= latency.p90_ms
    assert result["deep"].median_ms > result["flat"].median_ms
    assert result["deep"].to_json()["median_ms"] == pytest.approx(result["deep"].median_ms, rel=0, abs=0)
