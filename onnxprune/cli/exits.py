"""How every command ends: an exit code, and where it failed one sentence on stderr, and a JSON object for programs."""

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import click

from onnxprune.errors import Code, InputError, OnnxPruneError, UnreachableError
from onnxprune.graph.storage.scratch import PREFIX, SUFFIX

INTERRUPTED, TERMINATED = 130, 143
UNEXPECTED = 70


class Terminated(KeyboardInterrupt):
    """The command was told to end (SIGTERM), by a container or a scheduler."""


class Failure(NamedTuple):
    """What is said of an error: the sentence, the kind, and what the command ends with."""

    error: str
    code: Code
    exit: int


class Programs(NamedTuple):
    """Where programs read: the result on stdout, the progress on stderr."""

    result: bool = False
    progress: bool = False


_NOBODY = Programs()


class ToldError(UnreachableError):
    """Something could not be done after the result was printed, which says so itself."""


def guarded(work: Callable[[], Any], *, debug: bool, programs: Programs = _NOBODY) -> int:
    """Run `work` and return the exit code, after saying what went wrong.

    Args:
        work: a command; what it returns is the exit code where it is a number.
        debug: show the traceback as well.
        programs: where it is said as a JSON object.
    """
    try:
        code = work()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except BrokenPipeError:
        raise  # quiet, by click
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error, debug=debug)
        programs = programs._replace(result=programs.result and not isinstance(error, ToldError))
        _tell(failure, debug=debug, programs=programs)
        return failure.exit
    return code if isinstance(code, int) else 0


def _failure(error: BaseException, *, debug: bool) -> Failure:
    if isinstance(error, OnnxPruneError):
        return Failure(str(error), error.code, error.exit_code)
    if isinstance(error, click.ClickException):
        return Failure(_with_hint(error), _usage_code(error), error.exit_code)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        cause = error.__cause__ or error  # click raises an Abort of its own
        code = TERMINATED if isinstance(cause, Terminated) else INTERRUPTED
        return Failure(str(cause) or "interrupted; nothing was written", "interrupted", code)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
        return Failure("out of memory; use less data or a smaller --batch-size", "out-of-memory", UNEXPECTED)
    if isinstance(error, OSError) and _is_own(error.filename):
        told = f"a temporary file of this run, {error.filename}, cannot be used ({error.strerror})"
        return Failure(f"{told}; nothing was written, run again", "not-writable", InputError.exit_code)
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    hint = "" if debug else "; run again with --debug for the traceback, and please report it"
    return Failure(f"unexpected {reason}{hint}", "unexpected", UNEXPECTED)


def _is_own(name: Any) -> bool:
    """Whether a file lies in a temporary folder of a run, which somebody else may have removed."""
    if not isinstance(name, str):
        return False
    beside = any(part.startswith(PREFIX) and part.endswith(SUFFIX) for part in Path(name).parts)
    return beside or name.startswith(f"{tempfile.gettempdir()}{os.sep}onnxprune-")


def _tell(failure: Failure, *, debug: bool, programs: Programs) -> None:
    from onnxprune.cli.json_lines import write_line
    from onnxprune.cli.printing import print_json
    from onnxprune.cli.standard_streams import UnprintableError
    from onnxprune.report.blocks import plain

    if debug:
        import traceback

        click.echo(traceback.format_exc(), err=True, nl=False)
    if programs.result:
        with suppress(OSError, UnprintableError):  # nobody reads it, which may be what failed
            print_json(failure._asdict())
    with suppress(OSError):
        if programs.progress:
            write_line(sys.stderr, {"event": "error", **failure._asdict()})
        else:
            click.echo(f"onnxprune: {plain(failure.error)}", err=True)


def _usage_code(error: click.ClickException) -> Code:
    match error:
        case click.MissingParameter():
            return "missing-option"
        case click.BadParameter():
            return "bad-value"
        case click.NoSuchOption():
            return "unknown-name"
        case _:
            return "bad-usage"


def _with_hint(error: click.ClickException) -> str:
    """Return the message of a usage error and where to look."""
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see {context.command_path} --help." if context is not None else f"{message}."
