"""The file that times a network on a device."""

from pathlib import Path

from timed_machine import parts

from onnxprune.latency.package import pack


def test_the_packed_file_holds_all_that_is_timed(tmp_path: Path) -> None:
    model, analysis = parts()
    path = tmp_path / "board.pyz"
    count = pack(model, analysis, path)
    assert count > 50
    assert [file.name for file in tmp_path.iterdir()] == ["board.pyz"]
    assert path.read_bytes().startswith(b"#!/usr/bin/env python3")
