"""Recovery within a run: what the plan asks for, what stands in its way, and putting the new weights in place."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx

from onnxprune.data import Dataset, fit_and_judge
from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.staging import with_metadata
from onnxprune.graph.storage.weights import Weights
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.execution.cut import PrunedModel, verification_feeds
from onnxprune.pipeline.execution.store import put_in_place
from onnxprune.pipeline.planned import Planned
from onnxprune.pipeline.samples import Samples
from onnxprune.pipeline.stages import Stage, judge, opened, stages_of
from onnxprune.recovery.recovery import MEMORY, in_trials, steps
from onnxprune.recovery.run import RecoveryStep, obstacle, recover_steps
from onnxprune.report.numbers import many
from onnxprune.surgery.cut import Cut
from onnxprune.values.outcome import AfterStep
from onnxprune.verification.recovered import check_recovered


def recover(run: Run, pruned: PrunedModel) -> PrunedModel:
    """Recover a staged cut by its plan, check the best stage, and put it in the place of the cut, if that is asked for.

    Raises:
        InputError: an unknown recovery, or a file cannot be written.
        VerificationError: the recovered model is not the cut with new weights.
    """
    if not pruned.recovers:
        return pruned
    run.begin("recovery")
    run.working("Recovering the weights")
    plan, data, name = pruned.plan, run.calibration_samples, str(pruned.plan.recovery["name"])
    steps(name)
    notes: list[str] = []
    judged = pruned.planned.stages
    if judged is None or name != in_trials(run.config.recovered_by):
        stages = tuple(stages_of(run, pruned.cut, name, plan.seed, notes, run.listener.track))
        if not stages:
            return replace(pruned, planned=_recorded(pruned, {}), notes=(*pruned.notes, *notes))
        judged = judge(run, stages)
    judged = judged.of(pruned.cut)
    best, notes = judged.best, [*notes, *judged.notes]
    if data.without:
        notes.append(f"Samples of other classes took no part in the recovery: {data.without}")
    if data.unprotected:
        notes.append(f"Not all that the plan protects is protected: {data.unprotected}.")
    if plan.data and any(run.data_facts.get(name) != plan.data.get(name) for name in ("digest", "others")):
        notes.append("The weights were recovered with other data than the plan's scores were computed from.")
    placed = pruned.cut if best.step is None else _replace(run, pruned.cut, best.step, plan.seed)
    measured = tuple(
        replace(
            AfterStep(stage.name, taken=True) if stage is best else measured_step(run, stage.name, stage.cut),
            error=stage.error,
        )
        for stage in judged.stages
    )
    notes = [*pruned.notes, _summary(best, judged.stages, data), *notes]
    carried_out = {**plan.recovery, "name": best.name, "samples": data.fitted + best.others}
    planned = _recorded(pruned, {} if best.step is None else carried_out)
    return replace(pruned, cut=placed, planned=planned, steps=measured, last=best.name, notes=tuple(notes))


def _recorded(pruned: PrunedModel, recovery: Mapping[str, Any]) -> Planned:
    """Return what the model was cut by with the recovery that was carried out in its plan."""
    return replace(pruned.planned, plan=replace(pruned.plan, recovery=recovery))


def measured_step(run: Run, name: str, cut: Cut) -> AfterStep:
    """Measure a cut as it is after the step `name`."""
    assert run.evaluator is not None
    with opened(run, cut) as session:
        return run.evaluator.quality(session).as_step(name)


def _replace(run: Run, cut: Cut, step: RecoveryStep, seed: int) -> Cut:
    """Write the recovered model beside the cut, check the one against the other, and move it into the cut's place."""
    before, after = (_naming(model, step.name) for model in (cut.model, step.cut.model))

    def check(recovered: onnx.ModelProto, weights: Weights) -> None:
        feeds = verification_feeds(run.model, run.calibration_samples.calibration, seed)
        check_recovered(before, recovered, step.values, feeds, cut_weights=cut.weights, weights=weights)

    return put_in_place(cut, after, step.cut.weights, run.config.written, run.staging, check)


def _naming(model: onnx.ModelProto, recovery: str) -> onnx.ModelProto:
    """Return a copy of a model whose metadata name a recovery."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    with_metadata(named, {"onnxprune.recovery": recovery})
    return named


def _summary(best: Stage, stages: Sequence[Stage], data: Samples) -> str:
    """Return which stage was taken and why, how much was recovered, and what was left as it is."""
    stages_left = ", ".join(f"{stage.name} {stage.error:.2g}" for stage in stages if stage is not best)
    judged = (
        f"with {best.error:.2g} of the outputs' squares wrong on {len(data.judge)} samples that nothing was fitted to "
        f"({stages_left})"
    )
    step = best.step or stages[-1].step
    left = "" if step is None or not step.skipped else f" Layers left as they are: {_reasons(step.skipped)}."
    if best.step is None:
        return f"The cut was taken as it is, {judged}.{left}"
    others = f", {best.others} of them of other classes" if best.others else ""
    solved = f"new weights for {many(best.step.solved, 'layer')}, from {data.fitted + best.others} samples{others}"
    return f"Recovery {best.name} was taken, {judged}: {solved}.{left}"


def _reasons(skipped: Mapping[str, str]) -> str:
    """Say which layers were left as they are for which reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        reasons.setdefault(reason, []).append(name)
    return "; ".join(f"{_named(names)}: {reason}" for reason, names in reasons.items())


def _named(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else f"{names[0]!r} and {len(names) - 1} more"


def recover_cut(
    model: Model, result: Cut, dataset: Dataset, recovery: str = "refit", *, memory: int = MEMORY, seed: int = 0
) -> Cut:
    """Give a cut model new weights, in closed form, so that it computes what the original does on `dataset`.

    Args:
        model: the original.
        result: the cut, see `apply`.
        dataset: the samples; labels say that the model tells classes apart, and which samples go together.
        recovery: how: none, bias, fold or refit.
        memory: bytes of tensors between layers that are kept in memory.
        seed: of the choice of samples and positions.

    Raises:
        InputError: an unknown recovery, or a model whose weights cannot be recovered (quantized, or too large).
    """
    reason = obstacle(model.graph)
    if reason is not None and steps(recovery):
        raise InputError(f"Nothing can be recovered in {model.path.name}: {reason}.", "unsupported-model")
    classes = dataset.labels is not None
    fit, judge = fit_and_judge(dataset, seed)
    for step in recover_steps(model.graph, result, fit, judge, recovery, memory=memory, seed=seed, classes=classes):
        result = result if step.dropped else step.cut
    return result
