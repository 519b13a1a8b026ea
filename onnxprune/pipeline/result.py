"""The outcome of a run, and who hears of it on the way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxprune._version import __version__
from onnxprune.analysis.analyse import Analysis
from onnxprune.pipeline.samples import Samples
from onnxprune.values.outcome import Figures, Quality
from onnxprune.values.plan import Plan
from onnxprune.values.quantized import Quantized, effects
from onnxprune.values.trials import Search
from onnxprune.verification.equality import Equality


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of a run; what was not reached (a dry run stops at the plan) is None.

    `failure` says what was asked for on top of the pruned model and could not be done; the model is written even so.
    """

    model: Path
    analysis: Analysis
    plan: Plan
    samples: Samples | None
    before: Figures
    after: Figures | None = None
    quality: Quality | None = None
    equality: Equality | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    output: Path | None = None
    plan_output: Path | None = None
    labels_output: Path | None = None
    search: Search | None = None
    curve_output: Mapping[str, Path] = field(default_factory=dict)
    quantized: Quantized | None = None
    quantized_output: Path | None = None
    failure: str = ""

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON types."""
        return {
            "version": __version__,
            "model": str(self.model),
            "output": None if self.output is None else str(self.output),
            "plan": None if self.plan_output is None else str(self.plan_output),
            "labels": None if self.labels_output is None else str(self.labels_output),
            "curve": {ending: str(path) for ending, path in self.curve_output.items()},
            "method": self.plan.method,
            "options": dict(self.plan.options),
            "requested": dict(self.plan.request),
            "reached": dict(self.plan.reached),
            "before": self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
            "quality": None if self.quality is None else self.quality.to_json(),
            "quantized": self._quantized_json(),
            "verification": None if self.equality is None else self.equality.to_json(),
            "groups": {name: {"size": g.size, "kept": g.kept} for name, g in self.plan.groups.items()},
            "frozen": dict(self.plan.frozen),
            "recovery": dict(self.plan.recovery),
            "classes": dict(self.plan.classes),
            "search": None if self.search is None else self.search.to_json(),
            "skipped": [] if self.samples is None else list(self.samples.skipped),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    def _quantized_json(self) -> dict[str, Any] | None:
        """The quantized model, and what pruning and quantization did apart, as JSON types."""
        found = self.quantized
        if found is None or self.after is None or self.quality is None:
            return None
        changes = effects(self.before, self.after, self.quality, found)
        return {
            "output": str(self.quantized_output),
            "scheme": found.scheme,
            "size": found.size,
            "latency_ms": found.latency_ms,
            "quality": found.quality.to_json(),
            "effects": {name: effect.to_json() for name, effect in changes.items()},
        }


Extra = Callable[["Result"], Mapping[Path, bytes]]
"""Makes of the result what is to be written in the same step as the model, by path: a report."""


def no_extra(result: Result) -> Mapping[Path, bytes]:
    """Write nothing more."""
    return {}
