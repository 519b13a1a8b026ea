"""Two models side by side: parameters, MACs, file size, latency, channels and top-1."""

from collections.abc import Callable
from typing import Any

from onnxprune.report import numbers
from onnxprune.report.blocks import Table
from onnxprune.report.quality import top1_rows
from onnxprune.values.outcome import Figures, Quality, Speedup


def figures_table(
    title: str,
    columns: tuple[str, str],
    before: Figures,
    after: Figures | None,
    timed: tuple[Speedup | None, Speedup | None],
    threads: int | None,
    quality: Quality | None,
) -> Table:
    """Return the figures of two models.

    Args:
        title: of the table.
        columns: what the models are called.
        before: figures of the first.
        after: figures of the second, as far as they are known.
        timed: how many times as fast the second is, on `threads` and on one thread.
        threads: of the runtime; None: its default.
        quality: top-1 of both, where it was measured.
    """
    default = "default threads" if threads is None else numbers.many(threads, "thread")
    rows: list[tuple[str, ...]] = [
        _row("params", numbers.count, before.params, None if after is None else after.params),
        _row("MACs", numbers.count, before.macs, None if after is None else after.macs),
        _row("file size", numbers.size, before.size, None if after is None else after.size),
    ]
    for label, old, new, speedup in (
        (default, before.latency_ms, None if after is None else after.latency_ms, timed[0]),
        ("1 thread", before.single_ms, None if after is None else after.single_ms, timed[1]),
    ):
        if old is not None:
            row = _row(f"latency (onnxruntime CPU, batch 1, {label})", numbers.latency, old, new)
            rows.append((*row[:3], row[3] if speedup is None else _spread(speedup)))
    rows.append(_row("prunable channels", numbers.count, before.channels, None if after is None else after.channels))
    rows += top1_rows(quality)
    return Table(title, ("", *columns, "ratio"), tuple(rows), frozenset({1, 2, 3}))


def _row(label: str, show: Callable[[Any], str], old: float, new: float | None) -> tuple[str, str, str, str]:
    return label, show(old), "-" if new is None else show(new), numbers.times(old, new)


def _spread(speedup: Speedup) -> str:
    """Return a speedup with its spread, or that the machine was too busy to tell."""
    if not speedup.told:
        return "machine too busy to tell"
    return f"{speedup.median:.2f} ({speedup.low:.2f} to {speedup.high:.2f})"
