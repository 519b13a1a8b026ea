"""What pruning and quantizing did, told apart."""

from collections.abc import Mapping

from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines, Table
from onnxprune.values.amount import percent
from onnxprune.values.outcome import Figures, Quality
from onnxprune.values.quantized import BOTH, PRUNING, QUANTIZATION, Effect, Quantized, effects


def quantized_blocks(
    before: Figures, after: Figures | None, pruned: Quality | None, found: Quantized | None
) -> tuple[Block, ...]:
    """Return the three models side by side, and what each step changed; nothing where nothing was quantized."""
    if found is None or after is None or pruned is None:
        return ()
    return (
        three_table(before, after, pruned, found),
        effect_table(effects(before, after, pruned, found)),
        Lines((f"Quantized: {found.scheme}.",)),
    )


def three_table(before: Figures, after: Figures, pruned: Quality, found: Quantized) -> Table:
    """Return the original, the pruned and the quantized model side by side."""
    speeds = (before.latency_ms, after.latency_ms, found.latency_ms)
    rows = [
        ("file size", *(numbers.size(size) for size in (before.size, after.size, found.size))),
        ("latency", *(numbers.latency(speed) for speed in speeds)),
    ]
    measured = (pruned.before, pruned.after, found.quality.after)
    if all(accuracy is not None for accuracy in measured):
        top1 = (percent(accuracy.top1) for accuracy in measured if accuracy is not None)
        rows.append(("top-1", *top1))
    else:
        drifts = (pruned.as_step("").drift, found.quality.as_step("").drift)
        rows.append(("drift of the outputs", "-", *("-" if drift is None else percent(drift) for drift in drifts)))
    return Table("Pruned and quantized", ("", "original", "pruned", "pruned + int8"), tuple(rows), frozenset({1, 2, 3}))


def effect_table(found: Mapping[str, Effect]) -> Table:
    """Return what each step changed."""
    columns = [found[name] for name in (PRUNING, QUANTIZATION, BOTH)]
    rows = [
        ("file size", *(f"{effect.size:.2f} x" for effect in columns)),
        ("latency", *("-" if effect.latency is None else f"{effect.latency:.2f} x" for effect in columns)),
    ]
    if all(effect.top1 is not None and effect.interval is not None for effect in columns):
        rows.append(("top-1", *(numbers.points(effect.top1 or 0.0) for effect in columns)))
        rows.append(("95 % interval", *(numbers.point_span(effect.interval or (0.0, 0.0)) for effect in columns)))
    else:
        rows.append(("drift of the outputs", *("-" if e.drift is None else percent(e.drift) for e in columns)))
    return Table("", ("change", "by pruning", "by quantization", "by both"), tuple(rows), frozenset({1, 2, 3}))
