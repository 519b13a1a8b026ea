"""Latency tables in files: those that will not do are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from timed_machine import parts

from onnxprune.errors import InputError
from onnxprune.latency.device import Device
from onnxprune.latency.profile import profile_here
from onnxprune.latency.table import read_table


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "is no latency table"),
        ({"format": 99}, "another version"),
        ({"model": "0"}, "made for another model"),
        ({"groups": {}}, "another --allow"),
        ({"times": {}}, "is damaged"),
        ({"layers": [{"node": 0}]}, "is damaged"),
    ],
)
def test_tables_that_will_not_do_are_refused(tmp_path: Path, change: dict[str, Any] | None, said: str) -> None:
    model, analysis = parts()
    path = tmp_path / "device.json"
    content = {**profile_here(model, analysis, Device()), **(change or {})}
    path.write_text("[]" if change is None else json.dumps(content))
    with pytest.raises(InputError, match=said):
        read_table(path, model, analysis)
