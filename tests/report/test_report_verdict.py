"""The verdict in one line."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from onnxprune.report.verdict import verdict
from onnxprune.values.accuracy import Accuracy
from onnxprune.values.outcome import Figures, Quality, Speedup
from onnxprune.values.plan import Plan
from onnxprune.values.promise import Promise
from onnxprune.values.results import Result

PLAN = Plan("a.onnx", "0", "l2", {}, {"macs": 0.5, "max_drop": 0.01}, {"macs": 0.496, "params": 0.6}, {})
BEFORE = Figures(10, 20.0, 30, 4, latency_ms=1.7)
QUALITY = Quality(
    "d", 1000, Accuracy(876, 1000, (876,), (1000,)), Accuracy(869, 1000, (869,), (1000,)), -0.007, (-0.01, 0.0)
)
HELD = Promise("held", {"max_drop": 0.01}, {"max_drop": 0.0098}, 0.95, 1000)
AFTER = Figures(6, 10.0, 20, 3, latency_ms=1.0)
RESULT = Result(Path("a.onnx"), (), PLAN, None, BEFORE, AFTER, QUALITY, promise=HELD, speedup=Speedup(1.7, 1.6, 1.75))


def test_what_is_held_says_how_sure() -> None:
    assert verdict(RESULT) == (
        "held: 49.6 % of the MACs (asked 50.0 %), top-1 87.6 -> 86.9 (-0.7, at most -1.0 at 95 %), 1.7 x faster"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"promise": replace(HELD, state="careful", enough=1200)}, "faster, about 1,200 held-out images would show it"),
        ({"promise": None}, "done: 49.6 % of the MACs (asked 50.0 %), top-1 87.6 -> 86.9 (-0.7), 1.7 x faster"),
        ({"promise": None, "warnings": ("a", "b")}, "done, with 2 warnings: "),
        ({"promise": replace(HELD, state="careful"), "warnings": ("careful: few", "b")}, "careful, with 1 warning: "),
        (
            {"after": None, "quality": None, "promise": None, "speedup": None},
            "planned: 49.6 % of the MACs (asked 50.0 %)",
        ),
        ({"speedup": Speedup(1.01, 1.01, 1.01)}, ", as fast"),
        ({"speedup": Speedup(1.2, 0.9, 1.3)}, ", as fast"),
        ({"speedup": Speedup(0.5, 0.48, 0.55)}, ", 2.0 x slower"),
        ({"speedup": Speedup(2.0, 1.1, 3.0)}, ", the machine too busy to tell how fast"),
        ({"speedup": None}, "(-0.7, at most -1.0 at 95 %)"),
        (
            {
                "quality": Quality("d", 9, moved=0.031),
                "promise": Promise("held", {"max_drift": 0.1}, {"max_drift": 0.042}, 0.9, 9),
            },
            "outputs changed by 3.1 % (at most 4.2 % at 90 %)",
        ),
        (
            {
                "quality": Quality("d", 9, moved=0.031),
                "promise": Promise("careful", {"max_drift": 0.1}, {"max_drift": math.inf}, 0.9, 9),
            },
            "outputs changed by 3.1 %, too few samples to say by how much at most",
        ),
        ({"promise": replace(HELD, bounds={"max_drop": math.inf})}, "(-0.7)"),
        ({"plan": replace(PLAN, request={"params": 0.7}), "promise": None}, "60.0 % of the parameters (asked 70.0 %)"),
    ],
)
def test_what_else_it_says(change: dict[str, object], said: str) -> None:
    assert said in verdict(replace(RESULT, **change))  # type: ignore[arg-type]
