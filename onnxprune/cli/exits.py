"""How every command ends: an exit code, and one sentence on stderr where it failed."""

from collections.abc import Callable
from typing import Any

import click

from onnxprune.errors import OnnxPruneError

INTERRUPTED = 130
UNEXPECTED = 70


def guarded(work: Callable[[], Any], *, debug: bool) -> int:
    """Run `work` and return the exit code, after saying on stderr what went wrong.

    Args:
        work: a command; what it returns is the exit code where it is a number.
        debug: show the traceback as well.
    """
    try:
        code = work()
    except OnnxPruneError as error:
        return _failed(str(error), error.exit_code, debug=debug)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        return _failed(_with_hint(error), error.exit_code, debug=debug)
    except (click.Abort, KeyboardInterrupt) as stop:
        cause = stop.__cause__ or stop  # click raises an Abort of its own
        return _failed(str(cause) or "interrupted; nothing was written", INTERRUPTED, debug=debug)
    except BrokenPipeError:
        raise  # quiet, by click
    except MemoryError:
        return _failed("out of memory; use less data or a smaller --batch-size", UNEXPECTED, debug=debug)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
            return _failed("out of memory; use less data or a smaller --batch-size", UNEXPECTED, debug=debug)
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = "" if debug else "; run again with --debug for the traceback, and please report it"
        return _failed(f"unexpected {reason}{hint}", UNEXPECTED, debug=debug)
    return code if isinstance(code, int) else 0


def _failed(sentence: str, code: int, *, debug: bool) -> int:
    from onnxprune.report.blocks import plain

    if debug:
        import traceback

        click.echo(traceback.format_exc(), err=True, nl=False)
    click.echo(f"onnxprune: {plain(sentence)}", err=True)
    return code


def _with_hint(error: click.ClickException) -> str:
    """Return the message of a usage error and where to look."""
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see {context.command_path} --help." if context is not None else f"{message}."
