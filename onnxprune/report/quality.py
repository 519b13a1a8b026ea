"""What the cut did to the answers: top-1, the classes that lost, and the drift of outputs without labels."""

from onnxprune.report import numbers
from onnxprune.report.blocks import Lines, Table
from onnxprune.values.amount import percent
from onnxprune.values.outcome import CUT, AfterStep, Quality


def top1_rows(quality: Quality | None) -> tuple[tuple[str, ...], ...]:
    """Return the rows of top-1 and of its interval; none without labels."""
    if quality is None or quality.before is None or quality.after is None:
        return ()
    both = (quality.before, quality.after)
    return (
        (
            "top-1 among the chosen classes" if quality.among else "top-1",
            *(percent(found.top1) for found in both),
            "-",
        ),
        ("95 % interval", *(numbers.span(found.interval) for found in both), "-"),
    )


def change_lines(quality: Quality | None) -> Lines | None:
    """Return the paired change of top-1 and what it was measured on."""
    if quality is None:
        return None
    if quality.change is None or quality.change_interval is None:
        return Lines((f"Outputs compared on {_measured(quality)}.",))
    change, span = numbers.points(quality.change), numbers.point_span(quality.change_interval)
    among = f" Both models choose among {', '.join(quality.among)} alone." if quality.among else ""
    return Lines((f"Change of top-1: {change} (95 % interval {span}), paired, on {_measured(quality)}.{among}",))


def step_lines(quality: Quality | None) -> Lines | None:
    """Return what the cut took and each step of the recovery gave back; None where nothing was recovered."""
    if quality is None or not quality.steps:
        return None
    if all(step.top1 is not None for step in quality.steps):
        parts = [f"{percent(step.top1 or 0.0)} after {_step_name(step, quality)}" for step in quality.steps]
        return Lines((f"Recovery: top-1 {', '.join(parts)}.",))
    parts = [f"{percent(step.drift or 0.0)} after {_step_name(step, quality)}" for step in quality.steps]
    return Lines((f"Recovery: drift of the outputs {', '.join(parts)}.",))


def _step_name(step: AfterStep, quality: Quality) -> str:
    """Return what a step is called, and that it was taken where a later one was not."""
    name = "the cut" if step.name == CUT else step.name
    return f"{name}, which was taken" if step.taken and not quality.steps[-1].taken else name


def _measured(quality: Quality) -> str:
    """Return what was measured on; the source says by itself how many samples it has in all."""
    whole = quality.source.startswith(f"{quality.samples} ")
    return quality.source if whole else f"{quality.samples} of the {quality.source}"


def class_table(quality: Quality | None, limit: int | None, *, lost_only: bool = False) -> Table | None:
    """Return top-1 by class, the greatest loss first."""
    if quality is None:
        return None
    rows = [row for row in quality.classes if row.drop > 0 or not lost_only][:limit]
    return Table(
        "Classes that lost most" if lost_only else "Top-1 by class",
        ("class", "samples", "before", "after", "change"),
        tuple(
            (
                row.name,
                str(row.samples),
                percent(row.before),
                percent(row.after),
                numbers.points(-row.drop),
            )
            for row in rows
        ),
        frozenset({1, 2, 3, 4}),
    )


def drift_table(quality: Quality | None) -> Table | None:
    """Return how far each output moved and how often its highest score is still the same."""
    if quality is None or quality.drift is None:
        return None
    agreement = quality.agreement or {}
    rows = tuple(
        (name, percent(moved), percent(agreement[name]) if name in agreement else "-")
        for name, moved in quality.drift.items()
    )
    return Table(
        "Drift of the outputs", ("output", "relative L2 change", "same highest score"), rows, frozenset({1, 2})
    )
