"""Recovery within a run: what the plan asks for, what stands in its way, and putting the new weights in place."""

from collections.abc import Iterator
from dataclasses import replace

import onnx

from onnxprune.data import Dataset, fit_and_judge
from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.graph.storage.weights import Weights
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.execution.cut import PrunedModel, verification_feeds
from onnxprune.pipeline.execution.store import put_in_place
from onnxprune.pipeline.samples import Samples
from onnxprune.recovery.recovery import MEMORY, steps
from onnxprune.recovery.run import RecoveryStep, obstacle, recover_steps
from onnxprune.runtime import open_session
from onnxprune.surgery.cut import Cut
from onnxprune.values.outcome import CUT, AfterStep
from onnxprune.values.plan import Plan
from onnxprune.verification.recovered import check_recovered


def recover(run: Run, pruned: PrunedModel) -> PrunedModel:
    """Recover a staged cut by its plan, check the result, and put it in the place of the cut; where it is asked for.

    Raises:
        InputError: an unknown recovery, or a file cannot be written.
        VerificationError: the recovered model is not the cut with new weights.
    """
    if not pruned.recovers:
        return pruned
    run.working("Recovering the weights")
    plan, current, data = pruned.plan, pruned.cut, run.calibration_samples
    steps(str(plan.recovery["name"]))
    measured: list[AfterStep] = []
    notes: list[str] = []
    last: RecoveryStep | None = None
    for step in _tried(run, pruned.cut, plan, notes):
        measured.append(measured_step(run, CUT if last is None else last.name, current))
        last, current = step, step.cut
        notes += [f"{step.name} moved the outputs away from the original's, so it was undone."] * step.dropped
    if last is None:
        return replace(pruned, notes=(*pruned.notes, *notes))
    if plan.data and data.calibration.digest() != plan.data.get("digest"):
        notes.append("The weights were recovered with other data than the plan's scores were computed from.")
    placed = _replace(run, pruned.cut, last, plan.seed)
    notes = [*pruned.notes, _summary(last, data), *notes]
    return replace(pruned, cut=placed, steps=tuple(measured), last=last.name, notes=tuple(notes))


def _tried(run: Run, cut: Cut, chosen: Plan, notes: list[str]) -> Iterator[RecoveryStep]:
    """Yield the steps as far as they come: a model that the runtime cannot run piece by piece is still a good cut."""
    name, data = str(chosen.recovery["name"]), run.calibration_samples
    try:
        yield from recover_steps(
            run.model.graph, cut, data.fit, data.judge, name, memory=run.config.memory, seed=chosen.seed
        )
    except InputError as error:
        notes.append(f"Recovery {name} stopped where it was: {error}")


def measured_step(run: Run, name: str, cut: Cut) -> AfterStep:
    """Measure a cut as it is after the step `name`."""
    assert run.evaluator is not None
    with on_disk(cut.model, cut.weights, run.staging.folder(run.config.written)) as (proto, weights):
        return run.evaluator.quality(open_session(proto, weights, name="the pruned model")).as_step(name)


def _replace(run: Run, cut: Cut, step: RecoveryStep, seed: int) -> Cut:
    """Write the recovered model beside the cut, check the one against the other, and move it into the cut's place."""

    def check(recovered: onnx.ModelProto, weights: Weights) -> None:
        feeds = verification_feeds(run.model, run.calibration_samples.calibration, seed)
        check_recovered(cut.model, recovered, step.changed, feeds, cut_weights=cut.weights, weights=weights)

    return put_in_place(cut, step.cut.model, step.cut.weights, run.config.written, run.staging, check)


def _summary(step: RecoveryStep, data: Samples) -> str:
    """Return how much was recovered, and what was left as it is."""
    text = (
        f"Recovery {step.name} gave new weights to {step.solved} layers, from {len(data.fit)} samples, judged by "
        f"{len(data.judge)} others"
    )
    if not step.skipped:
        return f"{text}."
    reasons: dict[str, list[str]] = {}
    for name, reason in step.skipped.items():
        reasons.setdefault(reason, []).append(name)
    left = "; ".join(f"{_named(names)}: {reason}" for reason, names in reasons.items())
    return f"{text}, and left others as they are ({left})."


def _named(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else f"{names[0]!r} and {len(names) - 1} more"


def recover_cut(
    model: Model, result: Cut, dataset: Dataset, recovery: str = "refit", *, memory: int = MEMORY, seed: int = 0
) -> Cut:
    """Give a cut model new weights, in closed form, so that it computes what the original does on `dataset`.

    Args:
        model: the original.
        result: the cut, see `apply`.
        dataset: the samples; their labels are not used.
        recovery: how: none, bias, fold or refit.
        memory: bytes of tensors between layers that are kept in memory.
        seed: of the choice of samples and positions.

    Raises:
        InputError: an unknown recovery, or a model whose weights cannot be recovered (quantized, or too large).
    """
    reason = obstacle(model.graph)
    if reason is not None and steps(recovery):
        raise InputError(f"Nothing can be recovered in {model.path.name}: {reason}.", "unsupported-model")
    for step in recover_steps(model.graph, result, *fit_and_judge(dataset, seed), recovery, memory=memory, seed=seed):
        result = step.cut
    return result
