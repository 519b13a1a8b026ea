"""The outcome of comparing a cut network with the masked original."""

from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["equal", "unproven", "different"]
Place = Literal["outputs", "layers", "perturbed weights"]
Proof = Literal["equal", "perturbed", "unproven"]


@dataclass(frozen=True)
class Equality:
    """The outcome: relative error, tolerance and power of the worst output, and where it was looked.

    Attributes:
        status: `equal`, `different`, or `unproven` where no tensor could tell.
        error: largest relative difference between cut and mask.
        tolerance: what was allowed there.
        power: largest relative change that masking itself made.
        noise: relative difference of the masked network between two optimisation levels.
        where: the outputs, the layers inside, or either of these with perturbed weights.
        tensor: the tensor with the worst error.
        dtype: the integer type where that tensor is quantized, else empty.
        steps: by how many steps of that type cut and mask differ.
    """

    status: Status
    error: float
    tolerance: float
    power: float
    noise: float
    where: Place
    tensor: str
    dtype: str = ""
    steps: int = 0

    @property
    def proof(self) -> Proof:
        """What is shown of a cut that is written: it equals the mask, with perturbed weights alone, or nothing is."""
        if self.status != "equal":
            return "unproven"
        return "perturbed" if self.where == "perturbed weights" else "equal"

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types, and what they show."""
        return {**vars(self), "proof": self.proof}
