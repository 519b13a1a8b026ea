"""Libraries of custom operators, whose code runs in every session: only such as are named on the command line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnxruntime as ort

from onnxprune.errors import InputError
from onnxprune.runtime.failures import FAILURES
from onnxprune.values.ordinary_file import open_ordinary

_LOADED: list[Path] = []


@contextmanager
def custom_ops(libraries: Sequence[Path]) -> Iterator[None]:
    """Have every session that is opened inside know the operators of these libraries.

    Raises:
        InputError: one of them is none.
    """
    for library in libraries:
        try:
            open_ordinary(library).close()
            ort.SessionOptions().register_custom_ops_library(str(library.resolve(strict=True)))
        except OSError as error:
            raise InputError(f"--custom-ops {library} cannot be read ({error.strerror}).", "missing-file") from None
        except FAILURES as error:
            reason = (str(error).strip().splitlines() or ["it is no library"])[0]
            raise InputError(
                f"--custom-ops {library} is no library of operators for onnxruntime ({reason}).", "unreadable-file"
            ) from None
    before = list(_LOADED)
    _LOADED[:] = [library.resolve() for library in libraries]
    try:
        yield
    finally:
        _LOADED[:] = before


def register(options: ort.SessionOptions) -> None:
    """Have a session know the operators of the libraries that are in use."""
    for library in _LOADED:
        options.register_custom_ops_library(str(library))
