"""What a file was shown to be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune._version import RESULT_FORMAT, __version__
from onnxprune.values.equality import Equality
from onnxprune.values.opinion import Opinion


@dataclass(frozen=True, eq=False)
class Checked:
    """A model that is what its plan makes of the original, but for the values of weights.

    Attributes:
        model: the file.
        against: the original.
        plan: the plan.
        equality: the check that the cut equals the masked original.
        opinion: what another runtime says of the cut; None: none was asked.
        tensors: how many tensors it holds.
        changed: how many of these have other values than the cut, by recovery or training.
    """

    model: Path
    against: Path
    plan: Path
    equality: Equality
    opinion: Opinion | None
    tensors: int
    changed: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "version": __version__,
            "format": RESULT_FORMAT,
            "model": str(self.model),
            "against": str(self.against),
            "plan": str(self.plan),
            "verification": self.equality.to_json(),
            "opinion": None if self.opinion is None else self.opinion.to_json(),
            "tensors": self.tensors,
            "changed": self.changed,
        }
