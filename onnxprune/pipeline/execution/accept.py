"""Accepting a result: what refuses it, and what is said of it in warnings."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from onnxprune.errors import UnreachableError
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.execution.promise import with_promise
from onnxprune.pipeline.planned import Planned
from onnxprune.selection.loss_limits import CLASS_DROP, COLLAPSE, collapses
from onnxprune.values.amount import Amount, percent
from onnxprune.values.conditions import Condition
from onnxprune.values.equality import Equality
from onnxprune.values.outcome import Figures, Quality, Speedup
from onnxprune.values.quantized import Quantized
from onnxprune.values.results import Result

SLOWER = 1.05
"""Latency ratio beyond which a result counts as slower."""

METADATA = 1 << 12
"""Bytes that notes in the metadata may add to a file."""

LOST = 0.9
"""Change of the outputs from which on they have little to do with the original's."""


def accept(run: Run, result: Result, planned: Planned) -> Result:
    """Return the result with its warnings and what could not be checked.

    Raises:
        UnreachableError: it is not what was asked for; a plan that is given is applied whatever comes of it, but for
            what a class may lose.
    """
    plan, before, after, quality = result.plan, result.before, result.after, result.quality
    equality = result.equality
    assert after is not None
    assert equality is not None
    if not planned.replayed:
        refuse_size(run.goal.budget.size, before, after)
    if not run.config.force:
        refuse_growth(before, after)
    limit = plan.request.get(CLASS_DROP)
    refuse_class_drop(quality, limit)
    refuse_conditions(run.config.fail_if, result.measures)
    notes = result.notes
    if limit is not None and (quality is None or not quality.classes):
        notes = (*notes, f"No accuracy by class was measured, so the limit of {100 * limit:g} points is unchecked.")
    elif limit is not None and run.samples is not None and run.samples.unmeasured:
        named = ", ".join(run.samples.unmeasured)
        notes = (*notes, f"Nothing was measured of {named}, so what classes may lose is unchecked there.")
    result = with_promise(run, result, replayed=planned.replayed)
    collapsed = collapses(quality)
    if not (planned.replayed or planned.given or run.config.explicit or run.config.force):
        refuse_collapse(collapsed)
    warnings = (
        *result.warnings,
        *collapsed,
        *_unjudged(run, quality),
        *shortcomings(before, after, equality, result.speedup),
        *([result.failure] if result.failure else []),
        *([] if result.quantized is None else int8_shortcomings(after, result.quantized)),
    )
    return replace(result, warnings=warnings, notes=notes)


def _unjudged(run: Run, quality: Quality | None) -> Iterator[str]:
    """Say that the samples cannot judge, or that hardly anything of the outputs is left."""
    if run.samples is not None and run.samples.alike is not None:
        yield f"These samples cannot judge: {run.samples.alike}."
    if quality is not None and quality.before is None and quality.moved is not None and quality.moved >= LOST:
        yield f"The outputs have little to do with the original's: they changed by {100 * quality.moved:.0f} %."


def refuse_conditions(conditions: Sequence[Condition], measures: Mapping[str, float]) -> None:
    """Refuse a result of which a condition holds, or cannot be told.

    Raises:
        UnreachableError: one does.
    """
    for condition in conditions:
        if condition.name not in measures:
            raise UnreachableError(
                f"--fail-if '{condition}': {condition.name} was not measured here, so nothing was written; leave that "
                "condition out, or give data, labels and a quiet machine that it can be measured with.",
                "condition-holds",
            )
        if condition.holds(measures):
            raise UnreachableError(
                f"--fail-if '{condition}' holds: {condition.name} is {measures[condition.name]:.4g}, so nothing was "
                "written.",
                "condition-holds",
            )


def refuse_class_drop(quality: Quality | None, limit: float | None) -> None:
    """Refuse a result in which a class lost more of its recall than `limit`, as a share (None: any).

    Raises:
        UnreachableError: one did; the message has the worst.
    """
    if limit is None or quality is None or not quality.classes:
        return
    worst = quality.classes[0]
    if worst.drop > limit + 1e-9:
        single = f", one of which is {100 / worst.samples:.1f} points" if 1 / worst.samples > limit > 0 else ""
        raise UnreachableError(
            f"Class {worst.name!r} fell from {percent(worst.before)} to {percent(worst.after)} of its "
            f"{worst.samples} test images{single}: {100 * worst.drop:.1f} points, where --max-class-drop allows "
            f"{100 * limit:g}, so nothing was written; ask for less to go, or allow more.",
            "loss-too-high",
        )


def refuse_size(budget: Amount | None, before: Figures, after: Figures) -> None:
    """Refuse a file that is larger than the budget (None: any), for all that was known of it beforehand.

    Raises:
        UnreachableError: it is.
    """
    if budget is not None and after.size > budget.of(before.size):
        raise UnreachableError(
            f"The file came to {after.size} bytes, more than the budget of {math.floor(budget.of(before.size))}, so "
            f"nothing was written; ask for {math.floor(2 * budget.of(before.size) - after.size)}.",
            "over-budget",
        )


def refuse_growth(before: Figures, after: Figures) -> None:
    """Refuse a file that is larger than the original, by more than what is noted in it takes.

    Raises:
        UnreachableError: it is.
    """
    if after.size > before.size + METADATA:
        raise UnreachableError(
            f"The pruned file would be larger than the original, {after.size} bytes instead of {before.size}, so "
            "nothing was written; ask for more to go, or --force it.",
            "over-budget",
        )


def refuse_collapse(collapsed: Sequence[str]) -> None:
    """Refuse a result that `collapses` found something in.

    Raises:
        UnreachableError: it did.
    """
    if collapsed:
        raise UnreachableError(
            f"{collapsed[0]} No budget asked for that, so nothing was written; give one (--max-drop, "
            "--macs, --params, --size, --ratio, --alpha), or --force to take the result as it is.",
            "loss-too-high",
        )


def shortcomings(before: Figures, after: Figures, equality: Equality, speedup: Speedup | None = None) -> Iterator[str]:
    """Say what else is poor about the result. Latency is a measurement, too noisy here and now to refuse by."""
    if speedup is not None and speedup.told and speedup.median * SLOWER < 1 and speedup.high < 1:
        yield f"The pruned model is slower here: {1 / speedup.median:.2f} times the latency."
    if after.size >= before.size:
        yield f"The pruned file is not smaller: {after.size} bytes instead of {before.size}."
    if equality.status == "unproven":
        yield "Cut equals mask is unproven: on these inputs no tensor tells a cut model from an uncut one."


def int8_shortcomings(after: Figures, found: Quantized) -> Iterator[str]:
    """Say what is poor about the quantized model beside the pruned one."""
    change = found.change
    if change.change is not None and change.change < -COLLAPSE:
        yield f"Quantization took {-100 * change.change:.1f} points of top-1."
    dead = [row.name for row in change.classes if row.after == 0 and row.before > 0]
    if dead:
        yield f"No image of {', '.join(dead)} is classified right by the quantized model any more."
    if after.latency_ms and found.latency_ms and found.latency_ms > SLOWER * after.latency_ms:
        times = found.latency_ms / after.latency_ms
        yield f"The quantized model is slower here: {times:.2f} times the latency of the pruned one."
    if found.size >= after.size:
        yield f"The quantized file is not smaller: {found.size} bytes instead of {after.size}."
