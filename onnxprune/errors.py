"""Everything onnxprune refuses, as exceptions that carry one clear sentence and an exit code.

A message says what is wrong, where (tensor, node or file by name) and what to do next.
"""


class OnnxPruneError(Exception):
    """Base of every error that is meant for the user; `exit_code` is what the command line ends with."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(_sentence(message))


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
