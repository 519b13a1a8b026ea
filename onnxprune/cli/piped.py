"""`-o -`: the model goes to standard output, for the next command of a pipe, and all that is said to stderr."""

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import attrs

from onnxprune.cli.options import Talk
from onnxprune.cli.outcome import deliver
from onnxprune.cli.standard_streams import UnprintableError
from onnxprune.errors import InputError
from onnxprune.pipeline.config.groups import Quantizing, Reported
from onnxprune.values.results import Result

STDOUT = Path("-")

C = TypeVar("C", bound=Quantizing)


@contextmanager
def piped(config: C, talk: Talk) -> Iterator[tuple[C, Path | None]]:
    """Yield the configuration, and where the model is made that goes to standard output; None: it goes to a file.

    The file is gone at the end. A plan is kept only where one is asked for.

    Raises:
        InputError: something else would go to standard output as well, or nowhere.
    """
    if config.output != STDOUT:
        yield config, None
        return
    _check(config, talk)
    with tempfile.TemporaryDirectory(prefix="onnxprune-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / config.model.name
        plan: dict[str, Any] = (
            {"plan_output": Path(os.devnull)} if getattr(config, "plan_output", config) is None else {}
        )
        yield attrs.evolve(config, output=file, **plan), file


def hand_over(result: Result, talk: Talk, config: Reported, pipe: Path | None) -> None:
    """Print a result; one whose model is at `pipe` sends that to standard output first.

    Raises:
        As `deliver` and `send`.
    """
    if pipe is None:
        deliver(result, talk, config)
    else:
        deliver(send(result, pipe), talk, config, sys.stderr)


def send(result: Result, file: Path) -> Result:
    """Write a model to standard output, and return its result without the files that go with the folder of the model.

    Raises:
        InputError: its data files make it too large for one stream.
        UnprintableError: standard output cannot be written to.
    """
    content = _content(file)
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnprintableError(
            f"The model cannot be written to standard output ({error.strerror}), so there is none", "unprintable"
        ) from None
    plan = None if result.plan_output == Path(os.devnull) else result.plan_output
    return replace(result, output=None, labels_output=None, plan_output=plan)


def refuse_pipe(output: Path | None, command: str) -> None:
    """Refuse `-o -` for a command that keeps its state beside the output.

    Raises:
        InputError: it is asked for.
    """
    if output == STDOUT:
        raise _refused(f"`{command}` keeps its state beside the model; name a file with -o in place of -")


def _content(file: Path) -> bytes:
    """Return a model in one piece, with the weights that it keeps in data files."""
    from google.protobuf.message import EncodeError

    from onnxprune.graph.storage.load import open_model
    from onnxprune.graph.storage.save import locations

    stored = open_model(file)
    if not locations(*stored):
        return file.read_bytes()
    try:
        whole: bytes = stored.inside().SerializeToString(deterministic=True)
    except (ValueError, EncodeError):
        raise InputError(
            "The pruned model keeps its weights in data files and is too large for standard output; name a file with "
            "-o in place of -.",
            "model-too-large",
        ) from None
    return whole


def _check(config: Quantizing, talk: Talk) -> None:
    if talk.as_json:
        raise _refused("-o - and --json would both go to standard output; leave one of the two out")
    if sys.stdout.isatty():
        raise _refused("-o - writes a model, which is no text, and standard output is a terminal; send it to a pipe")
    try:
        os.write(sys.stdout.fileno(), b"")
    except io.UnsupportedOperation:  # it is no file
        pass
    except OSError as error:
        raise UnprintableError(f"Standard output cannot be written to ({error.strerror})", "unprintable") from None
    if getattr(config, "dry_run", False):
        raise _refused("A dry run makes no model that could go to standard output; leave out -o -, or --dry-run")
    if config.quantize is not None and config.quantized_output is None:
        raise _refused("With -o - there is no place beside the model for the quantized one; name it with --quantized")


def _refused(text: str) -> InputError:
    return InputError(f"{text}.", "conflicting-options")
