"""The two models side by side: parameters, MACs, file size, latency, channels and top-1."""

from collections.abc import Callable, Iterator
from typing import Any

from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Table
from onnxprune.report.quality import top1_rows
from onnxprune.report.section import Detail, Section, headline, register
from onnxprune.values.outcome import Speedup
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block]:
    """Return the figures of the original and of the pruned model; a page has its title already."""
    old, new = result.before, result.after or result.foreseen
    last = "after" if result.after is not None else "foreseen"
    threads = "default threads" if result.threads is None else numbers.many(result.threads, "thread")
    rows: list[tuple[str, ...]] = [
        _row("params", numbers.count, old.params, None if new is None else new.params),
        _row("MACs", numbers.count, old.macs, None if new is None else new.macs),
        _row("file size", numbers.size, old.size, None if new is None else new.size),
    ]
    for label, before, after, speedup in (
        (threads, old.latency_ms, None if new is None else new.latency_ms, result.speedup),
        ("1 thread", old.single_ms, None if new is None else new.single_ms, result.single_speedup),
    ):
        if before is not None:
            row = _row(f"latency (onnxruntime CPU, batch 1, {label})", numbers.latency, before, after)
            rows.append((*row[:3], row[3] if speedup is None else _spread(speedup)))
    rows.append(_row("prunable channels", numbers.count, old.channels, None if new is None else new.channels))
    rows += top1_rows(result.quality)
    title = "" if detail.page else headline(result)
    yield Table(title, ("", "before", last, "ratio"), tuple(rows), frozenset({1, 2, 3}))


def _row(label: str, show: Callable[[Any], str], old: float, new: float | None) -> tuple[str, str, str, str]:
    return label, show(old), "-" if new is None else show(new), numbers.times(old, new)


def _spread(speedup: Speedup) -> str:
    """Return a speedup with its spread, or that the machine was too busy to tell."""
    if not speedup.told:
        return "machine too busy to tell"
    return f"{speedup.median:.2f} ({speedup.low:.2f} to {speedup.high:.2f})"


register(Section("figures", 20, blocks))
