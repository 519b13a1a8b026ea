"""Top-1 accuracy of a model on labelled samples, and how it differs between two models."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import Dataset
from onnxprune.errors import InputError
from onnxprune.evaluation.classes import as_scores, class_output, log_probabilities
from onnxprune.runtime import Session
from onnxprune.values.accuracy import Z95, Accuracy, count_accuracy
from onnxprune.values.bounds import loss_bound
from onnxprune.values.progress import Track, silent

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """What a classifier says about each sample of a data set.

    Attributes:
        output: The output that holds the scores.
        classes: Number of classes: of the model, or of the data where these are only some of the model's.
        predicted: Class with the highest score of these, shape (n,); the lowest class where scores tie.
        labels: True class, shape (n,), or None.
        log_probability: Natural log of the true class's probability, shape (n,), or None without labels.
        margin: By how much the log-probability of the true class is above the highest other, shape (n,), or None
            without labels.
    """

    output: str
    classes: int
    predicted: Integers
    labels: Integers | None
    log_probability: NDArray[np.float64] | None
    margin: NDArray[np.float64] | None = None

    @property
    def accuracy(self) -> Accuracy:
        """Top-1 accuracy.

        Raises:
            InputError: the samples have no labels.
        """
        if self.labels is None:
            raise InputError(
                "accuracy needs labels: give one sub-folder per class, or 'y' in the .npz file", "no-labels"
            )
        return count_accuracy(self.predicted, self.labels, self.classes)

    def of(self, chosen: Integers) -> "Predictions":
        """Return what is said of the samples at some positions."""
        return replace(
            self,
            predicted=self.predicted[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            log_probability=None if self.log_probability is None else self.log_probability[chosen],
            margin=None if self.margin is None else self.margin[chosen],
        )


def predict(
    session: Session,
    dataset: Dataset,
    *,
    output: str | None = None,
    batch_size: int = 64,
    track: Track = silent,
) -> Predictions:
    """Classify every sample, among the classes of the data set where these are only some of the model's.

    Args:
        session: The model.
        dataset: The samples.
        output: Name of the output with the scores; None finds it, see `class_output`.
        batch_size: Samples per call where the model leaves it open.
        track: Progress.

    Raises:
        InputError: the model has no class scores, cannot run on the samples, gives NaN, or has fewer
            classes than the labels.
    """
    name, classes = class_output(session, dataset, output)
    columns = _columns(dataset, classes)
    highest = dataset.labels if columns is None else columns
    if highest is not None and highest.max() >= classes:
        raise InputError(
            f"{dataset.source} has the label {highest.max()} but output '{name}' of '{session.name}' "
            f"has {classes} classes: pass --labels FILE with the class names in the order of the outputs",
            "bad-labels",
        )
    predicted = np.empty(len(dataset), dtype=np.int64)
    logs = None if dataset.labels is None else np.empty(len(dataset))
    margins = None if dataset.labels is None else np.empty(len(dataset))
    for batch in track(dataset.batches(batch_size), total=len(dataset), what="measuring accuracy"):
        scores = as_scores(session.run_samples(batch.feeds, [name])[name], len(batch))
        if scores is None or np.isnan(scores).any():
            fault = "changes its shape with the data" if scores is None else "is NaN for some samples"
            raise InputError(
                f"output '{name}' of '{session.name}' {fault}: check the preprocessing, or pass --no-accuracy-check",
                "wrong-outputs",
            )
        probabilities = log_probabilities(scores)
        if columns is not None:
            scores, probabilities = scores[:, columns], log_probabilities(probabilities[:, columns])
        predicted[batch.indices] = scores.argmax(axis=1)
        if logs is not None and margins is not None and batch.labels is not None:
            own = np.arange(len(batch)), batch.labels
            logs[batch.indices] = probabilities[own]
            others = probabilities.copy()
            others[own] = -np.inf
            margins[batch.indices] = probabilities[own] - others.max(axis=1)
    return Predictions(name, classes if columns is None else len(columns), predicted, dataset.labels, logs, margins)


def _columns(dataset: Dataset, classes: int) -> Integers | None:
    """Return which outputs of a model with so many `classes` the classes of a data set are; None: all, in order.

    A model with no more outputs than the data has classes has been cut to just these: the highest of some of an uncut
    model's outputs is beyond their number.
    """
    if dataset.outputs is None or len(dataset.outputs) == classes:
        return None
    return np.asarray(dataset.outputs, dtype=np.int64)


def evaluate(
    session: Session,
    dataset: Dataset,
    *,
    output: str | None = None,
    batch_size: int = 64,
    track: Track = silent,
) -> Accuracy:
    """Top-1 accuracy on labelled samples; arguments and errors as `predict`.

    Raises:
        InputError: also where the samples have no labels.
    """
    if dataset.labels is None:
        raise InputError(
            f"{dataset.source} have no labels, which accuracy needs: "
            "give one sub-folder per class, or 'y' in the .npz file",
            "no-labels",
        )
    return predict(session, dataset, output=output, batch_size=batch_size, track=track).accuracy


@dataclass(frozen=True)
class PairedChange:
    """Change in top-1 from one model to another on the same samples.

    Attributes:
        gained: Samples that only the second model has right.
        lost: Samples that only the first model has right.
        total: Samples.
    """

    gained: int
    lost: int
    total: int

    @property
    def change(self) -> float:
        """Top-1 of the second model less that of the first, -1 to 1."""
        return (self.gained - self.lost) / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of `change`.

        The normal approximation on the discordant pairs that McNemar's test rests on, with half a pair added
        to each of the four cells (Agresti and Min, 2005), so that it stays sound for few discordant pairs.
        With c = gained + 0.5, b = lost + 0.5, n = total + 2 and d = (c - b) / n it is
        d -+ 1.96 * sqrt(b + c - n * d^2) / n. Samples on which both agree cancel, so it is narrower than
        the two models' own intervals suggest.
        """
        gained, lost, total = self.gained + 0.5, self.lost + 0.5, self.total + 2
        centre = (gained - lost) / total
        half = Z95 * math.sqrt(gained + lost - total * centre * centre) / total
        return max(-1.0, centre - half), min(1.0, centre + half)

    def most_lost(self, confidence: float) -> float:
        """Return the most that top-1 was lowered by, at a one-sided confidence, see `loss_bound`."""
        return loss_bound(self.lost, self.gained, self.total, confidence)

    def to_json(self) -> dict[str, Any]:
        """Counts, change and interval as JSON types."""
        counts = {"gained": self.gained, "lost": self.lost, "total": self.total}
        return {"change": self.change, "interval95": list(self.interval), **counts}


def paired(before: Predictions, after: Predictions, label: int | None = None) -> PairedChange:
    """Compare two models' predictions on the same labelled samples, or on those of one class.

    Raises:
        InputError: the samples have no labels.
        ValueError: the predictions are of different samples (a programming error).
    """
    if before.labels is None or after.labels is None:
        raise InputError("accuracy needs labels: give one sub-folder per class, or 'y' in the .npz file", "no-labels")
    if not np.array_equal(before.labels, after.labels):
        raise ValueError("the two models were measured on different samples")
    right_before, right_after = before.predicted == before.labels, after.predicted == after.labels
    counted = np.ones(len(before.labels), dtype=bool) if label is None else before.labels == label
    return PairedChange(
        gained=int((right_after & ~right_before & counted).sum()),
        lost=int((right_before & ~right_after & counted).sum()),
        total=int(counted.sum()),
    )
