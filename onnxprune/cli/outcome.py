"""From the result of pruning to what is printed and reported."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from onnxprune.cli.exits import ToldError
from onnxprune.cli.options import Talk
from onnxprune.cli.printing import print_blocks, print_json
from onnxprune.cli.standard_streams import UnprintableError
from onnxprune.pipeline.extra import Extra
from onnxprune.report.blocks import Lines
from onnxprune.report.html import page
from onnxprune.report.section import Detail, headline, report_blocks
from onnxprune.report.verdict import verdict
from onnxprune.values.results import Result


def report_of(path: Path | None) -> Extra:
    """Return what makes the report of a result that goes to `path`; None: none is asked for."""

    def report(result: Result) -> dict[Path, bytes]:
        if path is None:
            return {}
        content = page(headline(result), report_blocks(result, Detail(whole=True, page=True)))
        return {path: content.encode()}

    return report


@contextmanager
def told(written: Iterable[Path]) -> Iterator[None]:
    """Print a result inside of this: where that fails or is interrupted, it is said that the files are written.

    Raises:
        ToldError: standard output cannot be written to.
        KeyboardInterrupt: it was interrupted.
    """
    places = ", ".join(str(path) for path in written)
    try:
        yield
    except KeyboardInterrupt as stopped:
        raise type(stopped)(f"interrupted; the result is written: {places}") from None
    except UnprintableError as error:
        raise ToldError(f"{str(error).rstrip('.')}, but the result is written: {places}", "unprintable") from None


def deliver(result: Result, talk: Talk, report: Path | None, stream: TextIO | None = None) -> None:
    """Print the result, and where its report is.

    Args:
        result: what was written.
        talk: how it is told.
        report: where its page is, if it has one.
        stream: where people read it; None: standard output.

    Raises:
        ToldError: something that was asked for on top of the pruned model could not be done.
    """
    failed = None
    if result.failure:
        failed = ToldError(
            f"The pruned model is written, and the quantized one is not: {result.failure}", "not-quantizable"
        )
    beside = {} if report is None else {"Report": report}
    with told([*result.written.values(), *beside.values()]):
        if talk.as_json:
            error = {} if failed is None else {"error": str(failed), "code": failed.code, "exit": failed.exit_code}
            print_json({**result.to_json(), **error})
        elif talk.quiet:
            print_blocks((Lines((verdict(result),)),), stream)
        else:
            print_blocks(report_blocks(result, Detail(whole=talk.verbose, beside=beside)), stream)
    if failed is not None:
        raise failed
