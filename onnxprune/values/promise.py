"""What a result promises of the limits on its loss, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onnxprune.values.outcome import finite

State = Literal["held", "careful", "missed"]


@dataclass(frozen=True)
class Promise:
    """The limits on the loss of what was written last, on samples that neither fitted nor chose it.

    Attributes:
        state: held: the samples show that all limits hold; careful: they are too few for that, and no limit is visibly
            missed; missed: one is, in a plan that was applied all the same.
        limits: the most that may be lost, as shares, by their names in a plan's request.
        bounds: the most that was lost, at `confidence`, by the same names.
        confidence: of each bound, one-sided.
        samples: that were looked at.
        enough: samples that would show it, about; None: no number is known.
    """

    state: State
    limits: Mapping[str, float]
    bounds: Mapping[str, float]
    confidence: float
    samples: int
    enough: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "state": self.state,
            "limits": dict(self.limits),
            "bounds": {name: finite(bound) for name, bound in self.bounds.items()},
            "confidence": self.confidence,
            "samples": self.samples,
            "enough": self.enough,
        }
