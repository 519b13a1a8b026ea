import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from places import CALIB, RESNET, ROOT
from program import call

import onnxprune
from onnxprune.cli.reference import commands, reference

DOCS = ROOT / "docs" / "cli.md"


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_help_shows_both_ways_of_calling(args: tuple[str, ...]) -> None:
    ended = call(*args)
    assert ended.code == 0
    assert "onnxprune MODEL --data PATH [OPTIONS]" in ended.stdout
    assert "onnxprune COMMAND" in ended.stdout
    for command in ("apply", "inspect", "methods"):
        assert command in ended.stdout


def test_the_main_job_has_its_help_after_a_model_too() -> None:
    assert call("model.onnx", "--help").stdout == call("prune", "--help").stdout


def test_version() -> None:
    assert onnxprune.__version__ in call("--version").stdout


def test_methods_are_listed() -> None:
    stdout = call("methods").stdout
    assert "entropy" in stdout
    assert "formula:" in stdout
    found = json.loads(call("methods", "--json").stdout)
    assert {method["name"] for method in found} >= {"entropy", "random"}
    what = {"name", "summary", "formula", "needs", "needs_data", "cost", "policy", "threshold", "options", "source"}
    assert all(set(method) == what and method["cost"] for method in found)
    assert {method["name"] for method in found if not method["needs_data"]} >= {"l1", "random"}


def test_the_reference_holds_every_command_and_option() -> None:
    missing = [name for name in _all_names() if name not in reference()]
    assert missing == []


def test_every_command_and_option_is_documented() -> None:
    text = DOCS.read_text()
    assert [name for name in _all_names() if name not in text] == [], "run docs/generate.py"


def _all_names() -> list[str]:
    names = []
    for name, command in commands().items():
        names.append(f"onnxprune {name}")
        names += [long for param in command.params if isinstance(param, click.Option) for long in param.opts]
    return names


def test_every_option_says_what_it_does() -> None:
    for command in commands().values():
        for param in command.params:
            assert not isinstance(param, click.Option) or param.help, param.name


def test_an_unexpected_failure_is_one_line_and_debug_shows_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no\nway")

    monkeypatch.setattr("onnxprune.graph.loaded.load", broken)
    ended = call("inspect", RESNET)
    assert ended.code == 70
    assert ended.sentence.startswith("unexpected ZeroDivisionError: no way; run again with --debug")
    ended = call("inspect", RESNET, "--debug")
    assert ended.code == 70
    assert "Traceback" in ended.stderr


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    ended = call("inspect", tmp_path / "gone.onnx", "--debug")
    assert ended.code == 2
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("onnxprune: No such model")


def test_an_interrupt_says_that_nothing_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxprune.graph.loaded.load", stopped)
    ended = call("inspect", RESNET)
    assert ended.code == 130
    assert ended.sentence == "interrupted; nothing was written"


def test_control_characters_in_messages_are_shown_not_obeyed(tmp_path: Path) -> None:
    assert "\\x1b[31m" in call("inspect", tmp_path / "\x1b[31mred.onnx").sentence


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m onnxprune inspect -v {RESNET} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_file_names_that_are_no_text_do_not_stop_the_run(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.onnx")
    (tmp_path / odd).write_bytes(RESNET.read_bytes())
    command = [sys.executable, "-m", "onnxprune", "inspect", odd]
    env = {**os.environ, "PYTHONPATH": str(Path(onnxprune.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert re.search(r"caf.*\.onnx", done.stdout)


def test_nothing_heavy_is_imported_for_help() -> None:
    code = "import sys; import onnxprune.cli.program; print('torch' in sys.modules, 'jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_data_flags_of_all_commands_agree() -> None:
    def flags(name: str) -> set[str]:
        return {option for param in commands()[name].params for option in param.opts}

    assert {"--data", "--test", "--labels", "--holdout", "--resize", "--mean"} <= flags("apply") & flags("prune")
    assert CALIB.is_dir()


def test_an_interruption_while_modules_are_read_is_one_sentence() -> None:
    code = """
import sys
from onnxprune.cli import main

class Interrupted:
    def find_spec(self, name, *_):
        if name == "onnxprune.cli.program":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "onnxprune: interrupted; nothing was written\n")
