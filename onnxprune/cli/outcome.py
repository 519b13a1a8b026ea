"""From the result of pruning to what is printed and reported."""

from pathlib import Path

from onnxprune.cli.exits import ToldError
from onnxprune.cli.options import Talk
from onnxprune.cli.printing import print_blocks, print_json
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


def deliver(result: Result, talk: Talk, report: Path | None) -> None:
    """Print the result, and where its report is.

    Raises:
        ToldError: something that was asked for on top of the pruned model could not be done.
    """
    failed = None
    if result.failure:
        failed = ToldError(
            f"The pruned model is written, and the quantized one is not: {result.failure}", "not-quantizable"
        )
    if talk.as_json:
        told = {} if failed is None else {"error": str(failed), "code": failed.code, "exit": failed.exit_code}
        print_json({**result.to_json(), **told})
    elif talk.quiet:
        print_blocks((Lines((verdict(result),)),))
    else:
        beside = {} if report is None else {"Report": report}
        print_blocks(report_blocks(result, Detail(whole=talk.verbose, beside=beside)))
    if failed is not None:
        raise failed
