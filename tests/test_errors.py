"""Every message is a sentence, however the module that raised it wrote it."""

import pytest

from onnxprune.errors import InputError, UnreachableError, VerificationError


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
    assert str(InputError(written)) == read


def test_every_kind_has_its_exit_code() -> None:
    assert [kind("x").exit_code for kind in (UnreachableError, InputError, VerificationError)] == [1, 2, 3]
