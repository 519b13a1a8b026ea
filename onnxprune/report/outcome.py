"""What a run came to, as plain values, and the blocks that say so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines, Table, filled
from onnxprune.report.quality import change_lines, class_table, drift_table, step_lines, top1_rows
from onnxprune.report.quantized import quantized_blocks
from onnxprune.report.trials import search_lines, trials_table
from onnxprune.selection.budget import BUDGETS, Limited
from onnxprune.values.outcome import Figures, Quality
from onnxprune.values.plan import Plan
from onnxprune.values.quantized import Quantized
from onnxprune.values.trials import Search
from onnxprune.verification.equality import Equality

FEW = 3
"""Frozen groups and worst classes that are shown unless all are asked for."""

DIGEST = 12
"""Characters of a digest that people are shown."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a report is written from; what was not reached is None.

    Attributes:
        model: the model that was pruned.
        written: what was written (model, plan, report) and where.
        frozen_sizes: channels of each frozen group.
        threads: threads of the runtime; None: its default.
        scaling: how pixels were scaled, in words; empty without data.
        skipped: sample files that could not be read.
        search: what was tried before the plan was chosen.
    """

    model: Path
    plan: Plan
    before: Figures
    after: Figures | None = None
    quality: Quality | None = None
    equality: Equality | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    written: Mapping[str, Path] = field(default_factory=dict)
    frozen_sizes: Mapping[str, int] = field(default_factory=dict)
    threads: int | None = None
    scaling: str = ""
    skipped: tuple[str, ...] = ()
    search: Search | None = None
    quantized: Quantized | None = None


def headline(outcome: Outcome) -> str:
    """Return what was done to which model."""
    done = "pruned" if outcome.after is not None else "to be pruned"
    return f"{outcome.model.name}, {done} by {outcome.plan.method}"


def short_blocks(outcome: Outcome, *, verbose: bool = False) -> tuple[Block, ...]:
    """Return what a terminal shows; warnings come first."""
    return filled(
        warning_lines(outcome),
        replace(figures_table(outcome), title=headline(outcome)),
        budget_lines(outcome.plan),
        search_lines(outcome.search),
        step_lines(outcome.quality),
        change_lines(outcome.quality),
        trials_table(outcome.search) if verbose else None,
        class_table(outcome.quality, None if verbose else FEW, lost_only=not verbose),
        drift_table(outcome.quality),
        *quantized_blocks(outcome.before, outcome.after, outcome.quality, outcome.quantized),
        verification_lines(outcome.equality),
        width_table(outcome.plan) if verbose else None,
        frozen_lines(outcome, None if verbose else FEW),
        Lines(tuple(f"Note: {note}" for note in outcome.notes)),
        Lines(tuple(f"{what} written to {path}" for what, path in outcome.written.items())),
    )


def full_blocks(outcome: Outcome) -> tuple[Block, ...]:
    """Return what a page shows: everything."""
    return filled(
        warning_lines(outcome),
        figures_table(outcome),
        budget_lines(outcome.plan),
        search_lines(outcome.search),
        step_lines(outcome.quality),
        change_lines(outcome.quality),
        drift_table(outcome.quality),
        *quantized_blocks(outcome.before, outcome.after, outcome.quality, outcome.quantized),
        verification_lines(outcome.equality),
        trials_table(outcome.search),
        class_table(outcome.quality, None),
        width_table(outcome.plan),
        frozen_lines(outcome, None),
        Lines(outcome.notes, "Notes"),
        Lines(outcome.skipped, "Sample files that could not be read"),
        origin_table(outcome),
    )


def warning_lines(outcome: Outcome) -> Lines:
    """Return the warnings, worst first."""
    return Lines(tuple(f"Warning: {warning}" for warning in outcome.warnings), tone="warning")


def figures_table(outcome: Outcome) -> Table:
    """Return the two models side by side: parameters, MACs, file size, latency, channels and top-1."""
    old, new = outcome.before, outcome.after
    threads = "default threads" if outcome.threads is None else numbers.many(outcome.threads, "thread")
    rows: list[tuple[str, ...]] = [
        _row("params", numbers.count, old.params, None if new is None else new.params),
        _row("MACs", numbers.count, old.macs, None if new is None else new.macs),
        _row("file size", numbers.size, old.size, None if new is None else new.size),
    ]
    if old.latency_ms is not None:
        label = f"latency (onnxruntime CPU, batch 1, {threads})"
        rows.append(_row(label, numbers.latency, old.latency_ms, None if new is None else new.latency_ms))
    rows.append(_row("prunable channels", numbers.count, old.channels, None if new is None else new.channels))
    rows += top1_rows(outcome.quality)
    return Table("", ("", "before", "after", "ratio"), tuple(rows), frozenset({1, 2, 3}))


def _row(label: str, show: Callable[[Any], str], old: float, new: float | None) -> tuple[str, str, str, str]:
    return label, show(old), "-" if new is None else show(new), numbers.times(old, new)


def budget_lines(plan: Plan) -> Lines:
    """Return what was asked for and what was reached."""
    asked = [_ASKED[name](value) for name, value in plan.request.items() if name in _ASKED]
    asked += [
        f"{numbers.percent(share)} of the channels of {pattern} removed"
        for pattern, share in plan.request.get("ratio_for", {}).items()
    ]
    asked += [f"{name} {value}" for name, value in plan.request.items() if name not in (*_ASKED, *_ASIDE)]
    block = plan.request.get("round_to", 1)
    rounding = f"widths in blocks of {block}" if block != 1 else "widths not rounded"
    reached = [f"{numbers.percent(share)} of the {_LEFT.get(name, name)}" for name, share in plan.reached.items()]
    request = ", ".join(asked) or f"no budget, so what {plan.method} finds below its threshold"
    if plan.request.get("allow") == "approximate":
        rounding += ", approximate groups too (checked against normalising over the channels that stay)"
    if steps := plan.request.get("steps", plan.request.get("rounds")):  # as earlier plans called them
        rounding += f"; chosen in {steps} steps"
    if "policy" in plan.request:
        rounding += f"; policy {plan.request['policy']}"
    if "min_keep" in plan.request:
        rounding += f"; at least {numbers.percent(plan.request['min_keep'])} of every group kept"
    if "keep" in plan.request:
        rounding += f"; left whole: {', '.join(plan.request['keep'])}"
    if "max_class_drop" in plan.request:
        rounding += f"; no class to lose more than {100 * plan.request['max_class_drop']:g} points"
    if plan.request.get("trim_head"):
        rounding += f"; the classifier cut to {', '.join(plan.classes)}"
    return Lines((f"Requested: {request}; {rounding}.", f"Reached: {', '.join(reached)} are left."))


def _points(share: float) -> str:
    return "1 point" if share == 0.01 else f"{100 * share:g} points"


def _at_most(limited: Limited, amount: float | str) -> str:
    return f"at most {amount if isinstance(amount, str) else numbers.percent(amount)} of the {limited.words}"


_ASKED: Mapping[str, Callable[[Any], str]] = {
    **{limited.name: partial(_at_most, limited) for limited in BUDGETS},
    "ratio": lambda share: f"{numbers.percent(share)} of the channels of every group removed",
    "alpha": lambda alpha: f"everything below {alpha:g} times the threshold removed",
    "max_drop": lambda share: f"at most {_points(share)} of top-1 lost on held-out data",
    "max_drift": lambda share: f"no output changed by more than {100 * share:g} % on held-out data",
}
_ASIDE = (
    "round_to",
    "steps",
    "rounds",
    "allow",
    "trim_head",
    "max_class_drop",
    "min_keep",
    "keep",
    "ratio_for",
    "policy",
)
_LEFT = {"macs": "MACs", "params": "params", "channels": "prunable channels", "latency": "latency, as predicted,"}


def verification_lines(equality: Equality | None) -> Lines | None:
    """Return what the check of the cut against the mask found."""
    if equality is None:
        return None
    figures = f"error {equality.error:.1e}, allowed {equality.tolerance:.0e}"
    if equality.dtype:
        steps = f"within {numbers.many(equality.steps, 'step')} of {equality.dtype}" if equality.steps else ""
        figures = steps or f"exact in {equality.dtype}"
    if equality.status == "unproven":
        return Lines((f"Verification: cut equals mask is unproven ({figures}): no tensor told a cut from no cut.",))
    return Lines((f"Verification: cut equals mask: {figures}, checked on {_PLACES[equality.where]}.",))


_PLACES = {"outputs": "the outputs", "layers": "the layers inside", "shaken weights": "the outputs with shaken weights"}


def width_table(plan: Plan) -> Table:
    """Return every group's width before and after."""
    rows = tuple(
        (name, str(group.size), str(group.kept), numbers.percent(group.kept / group.size), _others(group.layers))
        for name, group in plan.groups.items()
    )
    bars = tuple(group.kept / group.size for group in plan.groups.values())
    columns = ("group", "before", "after", "left", "coupled layers")
    return Table("Widths", columns, rows, frozenset({1, 2, 3}), bars)


def _others(layers: tuple[str, ...]) -> str:
    return ", ".join(layers[1:])


def frozen_lines(outcome: Outcome, limit: int | None) -> Lines:
    """Return the frozen groups with their reasons, the first `limit` of them."""
    frozen = list(outcome.plan.frozen.items())
    if not frozen:
        return Lines(())
    lines = [f"{_with_size(name, outcome.frozen_sizes)}: {reason}" for name, reason in frozen[:limit]]
    if limit is not None and len(frozen) > limit:
        lines.append(f"and {len(frozen) - limit} more, which -v shows")
    return Lines(tuple(lines), f"{numbers.many(len(frozen), 'frozen group')}")


def _with_size(name: str, sizes: Mapping[str, int]) -> str:
    return f"{name} ({numbers.many(sizes[name], 'channel')})" if name in sizes else name


def origin_table(outcome: Outcome) -> Table:
    """Return where all this came from, so that it can be made again."""
    plan = outcome.plan
    options = ", ".join(f"{name} {value}" for name, value in plan.options.items())
    rows = [
        ("model", f"{plan.model}, digest {plan.digest[:DIGEST]}..."),
        ("method", f"{plan.method} ({options})" if options else plan.method),
        ("seed", str(plan.seed)),
    ]
    if plan.recovery:
        rows.append(("recovery", f"{plan.recovery['name']}, at most {plan.recovery['samples']} samples"))
    if plan.classes:
        rows.append(("classes", ", ".join(f"{name} (output {output})" for name, output in plan.classes.items())))
    if plan.data:
        rows.append(("scored on", f"{plan.data.get('images', '?')} images, {plan.data.get('classes', 0)} classes"))
        rows.append(("data", f"digest {str(plan.data.get('digest', '?'))[:DIGEST]}..."))
    if outcome.scaling:
        rows.append(("pixels", outcome.scaling))
    rows.append(("versions", ", ".join(f"{name} {number}" for name, number in plan.versions.items())))
    return Table("Origin", ("", ""), tuple(rows))
