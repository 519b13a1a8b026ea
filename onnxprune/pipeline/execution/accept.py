"""Judging a result: what refuses it, and what is said of it in warnings."""

import math
from collections.abc import Iterator, Sequence

from onnxprune.errors import InputError, UnreachableError
from onnxprune.pipeline.samples import Samples
from onnxprune.values.amount import Amount
from onnxprune.values.equality import Equality
from onnxprune.values.outcome import Figures, Quality
from onnxprune.values.quantized import Quantized

CLASS_DROP = "max_class_drop"
"""Under this name a plan's request has the most that a class may lose of its recall, as a share."""

COLLAPSE = 0.05
"""Loss of top-1 beyond which a run that was asked for no budget refuses its result."""

DEAD = 3
"""Images of a class that were right before, from which on it is no chance that none is."""

SLOWER = 1.05
"""Latency ratio beyond which a result counts as slower."""


def check_class_drop(
    limit: float | None, samples: Samples | None, *, measured: bool, option: str = "--max-class-drop"
) -> None:
    """Refuse a limit that nothing could be held against, before any work is done.

    Args:
        limit: the most that a class may lose of its recall, or all together of top-1, as a share; None: any.
        samples: the data.
        measured: whether accuracy is to be measured on it.
        option: that asks for it.

    Raises:
        InputError: the limit is no share, or there are no labels to measure classes by.
    """
    if limit is None:
        return
    if not 0 <= limit <= 1:
        raise InputError(f"The most that a class may lose is a share of its images from 0 to 1, not {limit:g}.")
    if samples is None or samples.tried_on.labels is None or samples.measured.labels is None or not measured:
        by_class = " by class" if option == "--max-class-drop" else ""
        missing = "--no-accuracy-check measures none" if samples is not None and not measured else "there are no labels"
        raise InputError(
            f"{option} needs the accuracy{by_class}, but {missing}; give data with one sub-folder per class, or with y."
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
            f"Class {worst.name!r} fell from {100 * worst.before:.1f} % to {100 * worst.after:.1f} % of its "
            f"{worst.samples} test images{single}: {100 * worst.drop:.1f} points, where --max-class-drop allows "
            f"{100 * limit:g}, so nothing was written; ask for less to go, or allow more."
        )


def refuse_size(budget: Amount | None, before: Figures, after: Figures) -> None:
    """Refuse a file that is larger than the budget (None: any), for all that was known of it beforehand.

    Raises:
        UnreachableError: it is.
    """
    if budget is not None and after.size > budget.of(before.size):
        raise UnreachableError(
            f"The file came to {after.size} bytes, more than the budget of {math.floor(budget.of(before.size))}, so "
            f"nothing was written; ask for {math.floor(2 * budget.of(before.size) - after.size)}."
        )


def refuse_collapse(collapsed: Sequence[str]) -> None:
    """Refuse a result that `collapses` found something in.

    Raises:
        UnreachableError: it did.
    """
    if collapsed:
        raise UnreachableError(
            f"{collapsed[0]} No budget asked for that, so nothing was written; "
            "give one (--max-drop, --macs, --params, --size, --ratio, --alpha), or --force to take the result as it is."
        )


def collapses(quality: Quality | None) -> tuple[str, ...]:
    """Say what of the accuracy was lost that nobody gives away unasked."""
    found = []
    if quality is not None and quality.change is not None:
        if quality.change < -COLLAPSE:
            found.append(f"Top-1 fell by {-100 * quality.change:.1f} points.")
        dead = [row.name for row in quality.classes if row.after == 0 and row.before * row.samples > DEAD - 0.5]
        if dead:
            found.append(f"No image of {', '.join(dead)} is classified right any more.")
    return tuple(found)


def shortcomings(before: Figures, after: Figures, equality: Equality) -> Iterator[str]:
    """Say what else is poor about the result. Latency is a measurement, too noisy here and now to refuse by."""
    if before.latency_ms and after.latency_ms and after.latency_ms > SLOWER * before.latency_ms:
        yield f"The pruned model is slower here: {after.latency_ms / before.latency_ms:.2f} times the latency."
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
