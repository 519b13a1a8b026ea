"""From the result of pruning to what is printed and reported."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from onnxprune.cli.exits import ToldError
from onnxprune.cli.options import Talk
from onnxprune.cli.printing import print_blocks, print_json
from onnxprune.cli.standard_streams import UnprintableError
from onnxprune.pipeline.config.groups import Reported
from onnxprune.pipeline.extra import Extra
from onnxprune.report.blocks import Block, Lines
from onnxprune.report.html import page
from onnxprune.report.markdown import markdown
from onnxprune.report.section import Detail, headline, report_blocks
from onnxprune.report.verdict import verdict
from onnxprune.values.results import Result


def report_of(config: Reported) -> Extra:
    """Return what makes the pages of a result that are asked for."""

    def report(result: Result) -> dict[Path, bytes]:
        return pages_of(config, headline(result), report_blocks(result, Detail(whole=True, page=True)))

    return report


def pages_of(config: Reported, title: str, blocks: Iterable[Block]) -> dict[Path, bytes]:
    """Return the pages that are asked for, by path."""
    makers = ((config.report, page), (config.markdown, markdown))
    blocks = tuple(blocks)
    return {path: make(title, blocks).encode() for path, make in makers if path is not None}


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


def deliver(result: Result, talk: Talk, config: Reported, stream: TextIO | None = None) -> None:
    """Print the result, and where its pages are.

    Args:
        result: what was written.
        talk: how it is told.
        config: says where its pages are.
        stream: where people read it; None: standard output.

    Raises:
        ToldError: something that was asked for on top of the pruned model could not be done.
    """
    failed = None
    if result.failure:
        failed = ToldError(
            f"The pruned model is written, and the quantized one is not: {result.failure}", "not-quantizable"
        )
    beside = {
        what: path for what, path in (("Report", config.report), ("Summary", config.markdown)) if path is not None
    }
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
