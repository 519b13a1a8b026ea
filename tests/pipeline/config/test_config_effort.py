"""`--effort` stands for a recovery, and leaves no doubt which."""

from typing import Any

import pytest
from refusals import refused

from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.recovery.recovery import RECOVERIES


@pytest.mark.parametrize(
    ("told", "recovery"),
    [
        ({}, "refit"),
        ({"effort": "fast"}, "fold"),
        ({"effort": "default"}, "refit"),
        ({"effort": "best"}, "match"),
        ({"recovery": "bias"}, "bias"),
        ({"recovery": "none"}, "none"),
    ],
)
def test_an_effort_stands_for_a_recovery(told: dict[str, Any], recovery: str) -> None:
    found = PruneConfig("model.onnx", **told).recovered_by
    assert found == recovery
    assert found in (*RECOVERIES, "none")


def test_both_are_one_too_many() -> None:
    with refused("conflicting-options", "effort", "recover"):
        PruneConfig("model.onnx", effort="best", recovery="refit")
    with refused("bad-value", "effort"):
        PruneConfig("model.onnx", effort="more")
