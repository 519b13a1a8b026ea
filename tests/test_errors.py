"""Every message is a sentence, however the module that raised it wrote it, and every error has a known code."""

import ast
import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

import onnxprune
from onnxprune.errors import CODES, Code, InputError, UnreachableError, VerificationError
from onnxprune.pipeline.config.base import ConfigError


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("there is no file 'a'", "There is no file 'a'."),
        ("No such model: a; check the path.", "No such model: a; check the path."),
        ("'y' of 'a.npz' is empty", "'y' of 'a.npz' is empty."),
        ("--mean is x: give a number", "--mean is x: give a number."),
        ("onnxruntime cannot load 'a'", "onnxruntime cannot load 'a'."),
        ("x.onnx is no model; did you mean y?", "x.onnx is no model; did you mean y?"),
    ],
)
def test_messages_begin_and_end_as_sentences_do(written: str, read: str) -> None:
    assert str(InputError(written, "bad-value")) == read


def test_every_kind_has_its_exit_code() -> None:
    assert [kind("x", "unexpected").exit_code for kind in (UnreachableError, InputError, VerificationError)] == [
        1,
        2,
        3,
    ]


def test_every_code_has_a_meaning_and_is_used() -> None:
    assert list(CODES) == list(get_args(Code))
    written = {
        node.value
        for path in Path(onnxprune.__path__[0]).rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    }
    assert [code for code in CODES if code not in written] == []


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_pass_from_one_process_to_another(again: Callable[[InputError], InputError]) -> None:
    error = again(ConfigError("macs", "'x' is no share"))
    assert isinstance(error, ConfigError)
    assert (str(error), error.code, error.field) == ("macs='x' is no share.", "bad-value", "macs")
