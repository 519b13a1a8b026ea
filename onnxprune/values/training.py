"""The figures of an epoch of training."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch.

    Attributes:
        number: from 1; 0 is before training.
        loss: mean over the training samples; None before training.
        validation_loss: mean over the validation samples.
        top1: share of the validation samples classified right; None without labels or classes.
        rate: learning rate of the last step.
        seconds: that it took.
    """

    number: int
    loss: float | None
    validation_loss: float
    top1: float | None
    rate: float = 0.0
    seconds: float = 0.0

    @property
    def score(self) -> tuple[float, float]:
        """Higher is better: accuracy, and the loss where that is equal."""
        return (-1.0 if self.top1 is None else self.top1, -self.validation_loss)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return dict(vars(self))
