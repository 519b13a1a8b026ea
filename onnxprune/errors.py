"""Everything onnxprune refuses, as exceptions that carry one clear sentence, a code and an exit code.

A message says what is wrong, where (tensor, node or file by name) and what to do next. The code is for programs: it
says what kind of thing is wrong, and stays the same when a message is put in other words.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal

Code = Literal[
    "missing-file",
    "unreadable-file",
    "would-overwrite",
    "not-writable",
    "unprintable",
    "already-there",
    "nothing-to-resume",
    "damaged-state",
    "other-run",
    "bad-usage",
    "bad-value",
    "conflicting-options",
    "missing-option",
    "unknown-name",
    "not-installed",
    "no-device",
    "no-data",
    "bad-data",
    "data-mismatch",
    "too-few-samples",
    "no-labels",
    "bad-labels",
    "chance-level",
    "invalid-model",
    "unsupported-model",
    "model-too-large",
    "not-runnable",
    "wrong-outputs",
    "wrong-model",
    "wrong-method",
    "bad-scores",
    "nothing-to-prune",
    "over-budget",
    "loss-too-high",
    "condition-holds",
    "outputs-alike",
    "other-groups",
    "no-gain",
    "not-quantizable",
    "cut-differs",
    "unproven",
    "recovery-failed",
    "training-differs",
    "interrupted",
    "out-of-memory",
    "unexpected",
]
"""What kind of thing is wrong."""

CODES: Mapping[Code, str] = MappingProxyType(
    {
        "missing-file": "A file or folder to read is not there.",
        "unreadable-file": "A file to read is damaged, or of another kind or version.",
        "would-overwrite": "An output would replace an input or another output.",
        "not-writable": "An output cannot be written to its place.",
        "unprintable": "Standard output is closed or full; what was asked for beside it is done.",
        "already-there": "The state of an earlier run is in the place of this one's.",
        "nothing-to-resume": "There is no state to go on from.",
        "damaged-state": "The state to go on from is damaged.",
        "other-run": "The state to go on from is of another run.",
        "bad-usage": "The command line cannot be read, or the command cannot be started that way.",
        "bad-value": "An option has a value that it cannot take.",
        "conflicting-options": "An option contradicts another, or has no say beside it.",
        "missing-option": "An option is needed that is not given.",
        "unknown-name": "There is nothing of that name that can be used, such as a method, an option or a tensor.",
        "not-installed": "A package that this needs is not installed.",
        "no-device": "The GPU, the execution provider or the processes asked for are not there.",
        "no-data": "Sample data are needed and not given, or empty.",
        "bad-data": "Sample data cannot be used as they are, such as a broken image or NaN.",
        "data-mismatch": "Sample data do not fit the model's inputs or each other, in shape or type.",
        "too-few-samples": "There are too few samples, in all or of a class.",
        "no-labels": "Labels are needed and the data have none.",
        "bad-labels": "The labels do not fit the model's classes, or class names cannot be used.",
        "chance-level": "The original guesses: its accuracy on the data is at the level of chance.",
        "invalid-model": "The model is not valid ONNX.",
        "unsupported-model": "The model cannot be used for what is asked of it.",
        "model-too-large": "The model has more bytes, nodes or calls than a file or a tool takes.",
        "not-runnable": "onnxruntime cannot load or run the model.",
        "wrong-outputs": "The model's outputs cannot be measured or compared as asked.",
        "wrong-model": "A plan, a score file, a latency table or a teacher belongs to another model.",
        "wrong-method": "The importance method does not work for this model or policy.",
        "bad-scores": "Scores or keep masks do not fit the model's groups, or are not finite.",
        "nothing-to-prune": "No channel goes: none is free, or none has to.",
        "over-budget": "A budget cannot be met, or was not.",
        "loss-too-high": "The accuracy or the outputs change more than is allowed.",
        "condition-holds": "A condition of `--fail-if` holds, or cannot be told.",
        "outputs-alike": "The original's outputs hardly vary over the samples, so nothing can be chosen by them.",
        "other-groups": "A cut network has other channel groups than the original.",
        "no-gain": "Training made the model no better.",
        "not-quantizable": "The model cannot be quantized.",
        "cut-differs": "The cut model does not equal the masked original.",
        "unproven": "Nothing could show that the cut model equals the masked original, and `--require-proof` is given.",
        "recovery-failed": "Recovery changed what it must not, or gave values that are not finite.",
        "training-differs": "onnxruntime computes something else than what was trained.",
        "interrupted": "The run was interrupted.",
        "out-of-memory": "There is too little memory.",
        "unexpected": "Something failed that should not; please report it.",
    }
)
"""What every code means."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question after the known name that is nearest to one that is not, to be put behind a message's list.

    Example:
        >>> did_you_mean("entorpy", ["entropy", "l1"])
        " (did you mean 'entropy'?)"
    """
    nearest = get_close_matches(name, list(known), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


class OnnxPruneError(Exception):
    """Base of every error that is meant for the user.

    Attributes:
        code: what kind of thing is wrong.
        exit_code: what the command line ends with.
    """

    exit_code = 2

    def __init__(self, message: str, code: Code) -> None:
        super().__init__(_sentence(message))
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        """Let an error pass from one process to another."""
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[OnnxPruneError], args: tuple[Any, ...]) -> OnnxPruneError:
    return kind.__new__(kind, *args)


_NAMES = frozenset({"onnx", "onnxprune", "onnxruntime"})


def _sentence(text: str) -> str:
    """Begin a message with a capital, unless it begins with a name or an option, and end it with a full stop."""
    first = text.split(" ", 1)[0]
    is_word = first.isalpha() and first.islower() and first not in _NAMES
    begun = text[:1].upper() + text[1:] if is_word else text
    return begun if begun.endswith((".", "?", "!")) else f"{begun}."


class InputError(OnnxPruneError):
    """Bad input or usage: a file, a folder, an option or a plan that cannot be used (exit code 2)."""


class UnreachableError(OnnxPruneError):
    """The request is well formed but cannot be met, such as an impossible budget (exit code 1)."""

    exit_code = 1


class VerificationError(OnnxPruneError):
    """The result did not hold its promises; nothing was written (exit code 3)."""

    exit_code = 3
