"""The benchmarks that count: what a run calls, what the help costs, how many statements there are."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import help as help_cost
from benchmarks import statements, trace


def test_a_run_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.getprofile()
    trace.main(["find_method", "no_such_function", "--json", str(tmp_path / "found.json")])
    assert sys.getprofile() is before
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["calls"]["find_method"] > 0
    assert found["calls"]["no_such_function"] == 0
    assert found["functions"] > found["files"] > 1
    assert found["turns"] > 1
    assert found["sessions"] > 1
    assert "no_such_function" in capsys.readouterr().out


def test_a_run_that_fails_is_told() -> None:
    with pytest.raises(SystemExit, match=r"nowhere\.onnx"):
        trace.trace(["nowhere.onnx", "--data", "nowhere"])


@pytest.mark.parametrize(("limit", "code"), [(None, 0), ("3", 0), ("1", 1)])
def test_the_help_is_held_against_a_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], limit: str | None, code: int
) -> None:
    times = {help_cost.HELP: 4.0, help_cost.RUNTIME: 2.0}
    monkeypatch.setattr(help_cost, "cpu_seconds", lambda command: times[command])
    assert help_cost.main(["--runs", "3", *(["--limit", limit] if limit else [])]) == code
    assert capsys.readouterr().out.split()[-1] == "2.00"


def test_cpu_time_is_the_childs() -> None:
    assert help_cost.cpu_seconds([sys.executable, "-c", "sum(range(10**6))"]) > 0


def test_statements_are_counted_without_docstrings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = '"""Doc."""\nA = 1\n"""What A is."""\ndef f():\n    """Doc."""\n    if A:\n        return 2\n'
    assert statements.count(source) == 4
    for room, name in (("ops", "a.py"), ("cli", "b.py")):
        (tmp_path / room).mkdir()
        (tmp_path / room / name).write_text(source)
    (tmp_path / "top.py").write_text("import os\n")
    rooms = statements.by_room(tmp_path)
    assert rooms == {"(top)": 1, "cli": 4, "ops": 4}
    assert statements.outside_engine(rooms) == 5
    statements.main([str(tmp_path)])
    assert capsys.readouterr().out.split()[-1] == "5"
