"""Cutting and recovering in memory, to look at what a plan would leave."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from onnxprune.data import Dataset
from onnxprune.errors import InputError
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.stages import Judged, judge, stages_of
from onnxprune.recovery.recovery import in_trials, steps
from onnxprune.recovery.run import RecoveryStep, error_of, obstacle, recover_steps
from onnxprune.surgery.cut import Cut, cut
from onnxprune.values.axes import BoolArray


def recovered_cut(run: Run, keep: Mapping[str, BoolArray]) -> Cut:
    """Cut the original and recover it in memory, as the final result will be or by what stands for that, unchecked."""
    return cut_and_stages(run, keep)[0]


def cut_and_stages(run: Run, keep: Mapping[str, BoolArray]) -> tuple[Cut, Judged | None]:
    """Return what `recovered_cut` does, and all stages that it was chosen from; None where some could not be made."""
    result, name = cut(run.analysis, keep), in_trials(run.config.recovered_by)
    if run.samples is None or not steps(name) or obstacle(run.model.graph) is not None:
        return result, None
    notes: list[str] = []
    stages = tuple(stages_of(run, result, name, run.config.seed, notes))
    if not stages:
        return result, None
    judged = judge(run, stages)
    return judged.best.cut, None if notes else judged


def recovered_error(run: Run, keep: Mapping[str, BoolArray], fit: Dataset) -> float:
    """Return the error of the outputs that a cut leaves once it is recovered with `fit`, on the samples that judge."""
    result, error = cut(run.analysis, keep), None
    for step in _steps(run, result, fit):
        error = min(step.error, step.before if error is None else error)
    if error is not None:
        return error
    return error_of(run.model.graph, result, run.calibration_samples.judge, memory=run.config.memory)


def _steps(run: Run, result: Cut, fit: Dataset) -> Iterator[RecoveryStep]:
    """Yield what the steps of the recovery make of a cut, as far as they come."""
    graph, name, config = run.model.graph, in_trials(run.config.recovered_by), run.config
    if not steps(name) or obstacle(graph) is not None:
        return
    judge = run.calibration_samples.judge
    settings: dict[str, Any] = {"memory": config.memory, "seed": config.seed, "classes": run.has_class_scores}
    with suppress(InputError):  # what cannot be run piece by piece stays as it is by then, as the final result will
        yield from recover_steps(graph, result, fit, judge, name, **settings)
