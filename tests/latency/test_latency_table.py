"""Latency tables in files: those that will not do are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from refusals import refused
from timed_machine import parts

from onnxprune.errors import Code
from onnxprune.latency.device import Device
from onnxprune.latency.profile import profile_here
from onnxprune.latency.table import read_table


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (None, "unreadable-file"),
        ({"format": 99}, "unreadable-file"),
        ({"model": "0"}, "wrong-model"),
        ({"groups": {}}, "wrong-model"),
        ({"times": {}}, "unreadable-file"),
        ({"layers": [{"node": 0}]}, "unreadable-file"),
    ],
)
def test_tables_that_will_not_do_are_refused(tmp_path: Path, change: dict[str, Any] | None, code: Code) -> None:
    model, analysis = parts()
    path = tmp_path / "device.json"
    content = {**profile_here(model, analysis, Device()), **(change or {})}
    path.write_text("[]" if change is None else json.dumps(content))
    with refused(code, "device.json"):
        read_table(path, model, analysis)
