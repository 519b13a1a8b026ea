"""Top-1 accuracy as counts, with what follows from counts: shares and confidence intervals."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


def wilson(correct: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of the share `correct / total` (total > 0), within [0, 1].

    Unlike the plain normal approximation it is sound near 0 and 1 and for few samples.
    """
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Accuracy:
    """How many of a labelled set's samples a model classifies right, in all and per class.

    Attributes:
        correct: Samples whose highest score is that of their label.
        total: Samples, at least one.
        class_correct: The same per class of the model; index = the model's output.
        class_total: Samples per class of the model; 0 for a class the data does not have.
    """

    correct: int
    total: int
    class_correct: tuple[int, ...]
    class_total: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse counts that contradict each other (a programming error, hence ValueError)."""
        if self.total < 1:
            raise ValueError("an accuracy needs at least one sample")
        if (sum(self.class_correct), sum(self.class_total)) != (self.correct, self.total):
            raise ValueError("the counts per class do not add up to the totals")

    @property
    def classes(self) -> int:
        """Number of classes of the model."""
        return len(self.class_total)

    @property
    def top1(self) -> float:
        """Share of samples classified right, 0 to 1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % confidence interval of `top1`."""
        return wilson(self.correct, self.total)

    @property
    def class_top1(self) -> tuple[float | None, ...]:
        """`top1` of each class; None for a class without samples."""
        pairs = zip(self.class_correct, self.class_total, strict=True)
        return tuple(correct / total if total else None for correct, total in pairs)

    def to_json(self) -> dict[str, Any]:
        """Counts, shares and the interval as JSON types."""
        return {
            "top1": self.top1,
            "interval95": list(self.interval),
            "correct": self.correct,
            "total": self.total,
            "class_correct": list(self.class_correct),
            "class_total": list(self.class_total),
        }


def count_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> Accuracy:
    """Count what is right.

    Args:
        predicted: Class of each sample, shape (n,), n > 0.
        labels: True class of each sample, shape (n,), each below `classes`.
        classes: Number of classes of the model.
    """
    hit = predicted == labels
    return Accuracy(
        correct=int(hit.sum()),
        total=int(labels.size),
        class_correct=tuple(np.bincount(labels[hit], minlength=classes).tolist()),
        class_total=tuple(np.bincount(labels, minlength=classes).tolist()),
    )
