"""Putting everything in its place, in one step."""

from collections.abc import Mapping
from pathlib import Path

from onnxprune.graph.storage.save import locations
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.execution.cut import PrunedModel
from onnxprune.pipeline.execution.evaluate import outlined
from onnxprune.pipeline.execution.promise import with_promise
from onnxprune.pipeline.planned import Planned
from onnxprune.pipeline.state import removed_once_written
from onnxprune.values.results import Result


def write(run: Run, pruned: PrunedModel, result: Result) -> Result:
    """Write the model with all that goes beside it.

    Raises:
        InputError: a file cannot be written.
    """
    kept = bool(locations(pruned.cut.model, pruned.cut.weights))
    _publish(run, result, pruned.planned.files or {}, kept=kept)
    return result


def write_plan(run: Run, planned: Planned) -> Result:
    """Write the plan alone.

    Raises:
        InputError: a file cannot be written.
    """
    result = with_promise(run, outlined(run, planned))
    with removed_once_written(run.state):
        _publish(run, result, planned.files or {}, kept=False)
    return result


def _publish(run: Run, result: Result, files: Mapping[Path, bytes], *, kept: bool) -> None:
    """Add the plan and whatever else is to be written, and put everything in its place."""
    if result.plan_output is not None:
        run.staging.write(result.plan_output, result.plan.to_text().encode())
    if result.labels_output is not None:
        run.staging.write(result.labels_output, "".join(f"{name}\n" for name in result.plan.classes).encode())
    for path, content in {**run.extra(result), **files}.items():
        run.staging.write(path, content)
    run.staging.commit(last=run.config.written, kept=kept)
