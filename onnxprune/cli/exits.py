"""How every command ends: an exit code, and one sentence or one JSON object on stderr where it failed."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from onnxprune.errors import Code, OnnxPruneError

INTERRUPTED = 130
UNEXPECTED = 70


class Failure(NamedTuple):
    """What is said of an error."""

    code: Code
    message: str
    exit_code: int


def guarded(work: Callable[[], Any], *, debug: bool, as_json: bool = False) -> int:
    """Run `work` and return the exit code, after saying on stderr what went wrong.

    Args:
        work: a command; what it returns is the exit code where it is a number.
        debug: show the traceback as well.
        as_json: say it as a JSON object, for programs.
    """
    try:
        code = work()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except BrokenPipeError:
        raise  # quiet, by click
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error, debug=debug)
        _tell(failure, debug=debug, as_json=as_json)
        return failure.exit_code
    return code if isinstance(code, int) else 0


def _failure(error: BaseException, *, debug: bool) -> Failure:
    if isinstance(error, OnnxPruneError):
        return Failure(error.code, str(error), error.exit_code)
    if isinstance(error, click.ClickException):
        return Failure(_usage_code(error), _with_hint(error), error.exit_code)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        cause = error.__cause__ or error  # click raises an Abort of its own
        return Failure("interrupted", str(cause) or "interrupted; nothing was written", INTERRUPTED)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
        return Failure("out-of-memory", "out of memory; use less data or a smaller --batch-size", UNEXPECTED)
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    hint = "" if debug else "; run again with --debug for the traceback, and please report it"
    return Failure("unexpected", f"unexpected {reason}{hint}", UNEXPECTED)


def _tell(failure: Failure, *, debug: bool, as_json: bool) -> None:
    from onnxprune.cli.json_lines import write_line
    from onnxprune.report.blocks import plain

    if debug:
        import traceback

        click.echo(traceback.format_exc(), err=True, nl=False)
    if as_json:
        write_line(sys.stderr, {"event": "error", **failure._asdict()})
    else:
        click.echo(f"onnxprune: {plain(failure.message)}", err=True)


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
