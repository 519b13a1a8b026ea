"""From the result of pruning to what is printed and reported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxprune.cli.printing import print_blocks, print_json
from onnxprune.errors import UnreachableError
from onnxprune.pipeline.result import Extra
from onnxprune.report.html import page
from onnxprune.report.section import Detail, headline, report_blocks
from onnxprune.values.results import Result


def report_of(flags: Mapping[str, Any]) -> Extra:
    """Return what makes the report of a result, where one is asked for."""

    def report(result: Result) -> dict[Path, bytes]:
        if flags["report"] is None:
            return {}
        content = page(headline(result), report_blocks(result, Detail(whole=True, page=True)))
        return {flags["report"]: content.encode()}

    return report


def deliver(result: Result, flags: Mapping[str, Any]) -> None:
    """Print the result.

    Raises:
        UnreachableError: something that was asked for on top of the pruned model could not be done.
    """
    if flags["as_json"]:
        print_json(result.to_json())
    else:
        beside = {} if flags["report"] is None else {"Report": flags["report"]}
        print_blocks(report_blocks(result, Detail(whole=flags["verbose"], beside=beside)))
    if result.failure:
        raise UnreachableError(f"The pruned model is written, and the quantized one is not: {result.failure}")
