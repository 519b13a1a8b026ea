"""What a result promises of the limits on its loss, in which words, and what is refused."""

import math
from collections.abc import Mapping
from dataclasses import replace

from onnxprune.errors import UnreachableError
from onnxprune.pipeline.context import Run
from onnxprune.report import numbers
from onnxprune.selection.loss_limits import CLASS_DROP, MAX_DRIFT, MAX_DROP, LossLimits
from onnxprune.values.outcome import Quality
from onnxprune.values.plan import Plan
from onnxprune.values.promise import Promise, State
from onnxprune.values.results import Result


def limits_of_plan(plan: Plan) -> LossLimits:
    """Return the limits that a plan records."""
    return LossLimits({name: plan.request[name] for name in (MAX_DROP, MAX_DRIFT, CLASS_DROP) if name in plan.request})


def with_promise(run: Run, result: Result, *, replayed: bool = False) -> Result:
    """Return the result with what it promises, which its plan records too, and a warning where that is not held.

    Raises:
        UnreachableError: a limit is visibly missed (unless --force takes that), or nothing shows that it holds where
            that is required. A plan that is given is applied whatever comes of it.
    """
    limits = limits_of_plan(result.plan)
    chosen = None if result.search is None else result.search.chosen
    pruned = result.quality if result.after is not None or chosen is None else chosen.quality
    last = pruned if result.quantized is None else result.quantized.quality
    unshown = result.search is not None and not result.search.shown and not run.has_test_data
    if replayed:  # what these very samples did not show in the order of asking, asking again does not show
        same = result.plan.data.get("digest") == run.data_facts.get("digest")
        unshown = same and result.plan.promise.get("state") == "careful"
    promise = _promised(limits, (pruned, last), run.config.confidence, unshown=unshown)
    if not replayed:
        if not run.config.force:
            _refuse_missed(limits, promise, last)
        if run.config.require_confidence:
            _refuse_careful(limits, promise, last)
    if promise is None or last is None:
        return replace(result, plan=replace(result.plan, promise={}))
    said = words(promise, last)
    warnings = (*([] if said is None else [said]), *result.warnings)
    return replace(result, promise=promise, plan=replace(result.plan, promise=promise.to_json()), warnings=warnings)


def words(promise: Promise, quality: Quality) -> str | None:
    """Return what is said of a promise that is not held: what is shown, and how many samples would do."""
    if promise.state == "held":
        return None
    images = "1 held-out image does" if promise.samples == 1 else f"{promise.samples} held-out images do"
    if promise.state == "missed":
        said = LossLimits(promise.limits).missed(quality)
        return f"missed: on these {promise.samples} images the result {said}."
    more = "" if promise.enough is None else f"; about {promise.enough:,} held-out images would do"
    seen = "; ".join(_seen(promise.limits, promise.bounds)) or "milder plans were not shown to"
    confidence = f"{100 * promise.confidence:g} %"
    return f"careful: {images} not show at {confidence} that the limit holds ({seen}){more}."


def _seen(limits: Mapping[str, float], bounds: Mapping[str, float]) -> list[str]:
    parts = []
    for name, limit in limits.items():
        bound, drifts = bounds[name], name == MAX_DRIFT
        what = {MAX_DROP: "top-1 lost", CLASS_DROP: "a class lost", MAX_DRIFT: "the outputs changed by"}[name]
        unit = " %" if drifts else " points"
        if not math.isfinite(bound):
            parts.append(f"{what}: too few samples to say" if drifts else f"{what}: not measured")
        elif bound > limit + 1e-9:
            allowed = f"{100 * limit:g} %" if drifts else numbers.amount_of_points(limit)
            parts.append(f"{what} at most {100 * bound:.1f}{unit}, the limit is {allowed}")
    return parts


def _promised(
    limits: LossLimits, found: tuple[Quality | None, Quality | None], confidence: float, *, unshown: bool
) -> Promise | None:
    """Return what is promised of all that is written; None where nothing is limited or measured.

    `unshown`: the plan was taken although the samples had not shown of it, in the order of asking, that it holds.
    """
    pruned, last = found
    if not limits.limits or pruned is None or last is None:
        return None
    shown = not unshown and limits.shown(pruned) and limits.shown(last)
    state: State = "held" if shown else "missed" if limits.visibly_missed(last) else "careful"
    bounds = {name: max(each.bounds.get(name, math.inf) for each in (pruned, last)) for name in limits.limits}
    enough = limits.enough(last, confidence) if state == "careful" else None
    return Promise(state, limits.limits, bounds, confidence, last.samples, enough)


def _refuse_missed(limits: LossLimits, promise: Promise | None, last: Quality | None) -> None:
    if promise is not None and last is not None and promise.state == "missed":
        known = {name: limit for name, limit in limits.limits.items() if name != CLASS_DROP}  # refused by itself
        said = LossLimits(known).missed(last)
        if said:
            raise UnreachableError(
                f"The final result {said} (on {last.samples} images that it was not chosen by), so nothing was "
                "written; allow more, or train otherwise.",
                "loss-too-high",
            )


def _refuse_careful(limits: LossLimits, promise: Promise | None, last: Quality | None) -> None:
    if limits.limits and promise is None:
        raise UnreachableError(
            "Nothing was measured that could show that the limits hold, as --require-confidence asks, so nothing was "
            "written; give labelled --data, or leave it out.",
            "loss-too-high",
        )
    said = None if promise is None or last is None else words(promise, last)
    if said is not None:
        told = said.partition(": ")[2].rstrip(".")
        raise UnreachableError(f"{told}, so nothing was written; give more data, or allow more.", "loss-too-high")
