"""What another runtime than onnxruntime says of a result."""

from dataclasses import dataclass
from typing import Any

POWER_FACTOR = 100.0
"""How many times what is allowed masking has to change an output."""


@dataclass(frozen=True)
class Opinion:
    """A second opinion; all figures are relative to the largest value of an output.

    Attributes:
        oracle: the other runtime.
        cut: largest difference between the cut and the masked original, both run there.
        tolerance: what was allowed.
        power: how much masking itself changes there; where that is little, a wrong cut might not have shown.
        written: largest difference of the written model between there and onnxruntime.
    """

    oracle: str
    cut: float
    tolerance: float
    power: float
    written: float = 0.0

    @property
    def has_power(self) -> bool:
        """Whether a wrong cut would have shown."""
        return self.power >= POWER_FACTOR * self.tolerance

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return dict(vars(self))
