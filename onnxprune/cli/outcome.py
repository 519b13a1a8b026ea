"""From the pipeline's result to what is printed and reported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxprune.cli.console import scaling_words
from onnxprune.cli.printing import print_blocks, print_json
from onnxprune.errors import UnreachableError
from onnxprune.pipeline.result import Extra, Result
from onnxprune.report.html import page
from onnxprune.report.outcome import Outcome, full_blocks, headline, short_blocks


def outcome_of(result: Result, *, threads: int | None, report: Path | None) -> Outcome:
    """Return the plain values of a result."""
    places = {
        "Model": result.output,
        "Quantized model": result.quantized_output,
        "Plan": result.plan_output,
        "Labels": result.labels_output,
        "Report": report,
    }
    places |= {f"Curve ({ending})": path for ending, path in result.curve_output.items()}
    return Outcome(
        model=result.model,
        plan=result.plan,
        before=result.before,
        after=result.after,
        quality=result.quality,
        equality=result.equality,
        warnings=result.warnings,
        notes=result.notes,
        written={what: path for what, path in places.items() if path is not None},
        frozen_sizes={group.name: group.size for group in result.analysis.groups if group.frozen},
        threads=threads,
        scaling="" if result.samples is None else scaling_words(result.samples),
        quantized=result.quantized,
        skipped=() if result.samples is None else result.samples.skipped,
        search=result.search,
    )


def report_of(flags: Mapping[str, Any]) -> Extra:
    """Return what makes the report of a result, where one is asked for."""

    def report(result: Result) -> dict[Path, bytes]:
        if flags["report"] is None:
            return {}
        outcome = outcome_of(result, threads=flags["threads"], report=flags["report"])
        return {flags["report"]: page(headline(outcome), full_blocks(outcome)).encode()}

    return report


def deliver(result: Result, flags: Mapping[str, Any]) -> None:
    """Print the result.

    Raises:
        UnreachableError: something that was asked for on top of the pruned model could not be done.
    """
    if flags["as_json"]:
        print_json(result.to_json())
    else:
        outcome = outcome_of(result, threads=flags["threads"], report=flags["report"])
        print_blocks(short_blocks(outcome, verbose=flags["verbose"]))
    if result.failure:
        raise UnreachableError(f"The pruned model is written, and the quantized one is not: {result.failure}")
