"""What another runtime than onnxruntime says of a result."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Opinion:
    """A second opinion; all figures are relative to the largest value of an output.

    Attributes:
        oracle: the other runtime.
        cut: largest difference between the cut and the masked original, both run there.
        tolerance: what was allowed.
        written: largest difference of the written model between there and onnxruntime.
    """

    oracle: str
    cut: float
    tolerance: float
    written: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return dict(vars(self))
