"""What pruning and quantizing came to, each by itself and both together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxprune.values.outcome import Figures, Quality


@dataclass(frozen=True)
class Quantized:
    """The quantized model, measured beside the original and the pruned one.

    Attributes:
        scheme: how it was quantized, in words.
        size: bytes of the file.
        latency_ms: median time of one sample, measured in turns with the other two.
        quality: against the original.
        change: against the pruned model.
    """

    scheme: str
    size: int
    latency_ms: float | None
    quality: Quality
    change: Quality


@dataclass(frozen=True)
class Effect:
    """What one step did.

    Attributes:
        size: bytes of the file after it, as a share of those before.
        latency: the same of the latency; None if not measured.
        top1: change of top-1, as a share, and its 95 % interval (paired); None without labels.
        interval: see `top1`.
        drift: relative L2 change of the output that moved most; None with labels.
    """

    size: float
    latency: float | None
    top1: float | None
    interval: tuple[float, float] | None
    drift: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {**vars(self), "interval": None if self.interval is None else list(self.interval)}


PRUNING, QUANTIZATION, BOTH = "pruning", "quantization", "both"


def effects(before: Figures, after: Figures, pruned: Quality, found: Quantized) -> Mapping[str, Effect]:
    """Return what pruning did, what quantization did to its result, and what both did together.

    Args:
        before: the original's figures.
        after: the pruned model's.
        pruned: the pruned model against the original.
        found: the quantized model.
    """
    return {
        PRUNING: _effect(before.size, after.size, before.latency_ms, after.latency_ms, pruned),
        QUANTIZATION: _effect(after.size, found.size, after.latency_ms, found.latency_ms, found.change),
        BOTH: _effect(before.size, found.size, before.latency_ms, found.latency_ms, found.quality),
    }


def _effect(old: int, new: int, slow: float | None, fast: float | None, quality: Quality) -> Effect:
    latency = fast / slow if slow and fast is not None else None
    return Effect(new / old, latency, quality.change, quality.change_interval, quality.as_step("").drift)
