"""Which output of a model holds the class scores, and reading scores from it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import Dataset
from onnxprune.errors import InputError
from onnxprune.runtime import Session
from onnxprune.values.interface import TensorSpec

_LOOKED_AT = 32
"""Samples by which probabilities are told from other scores."""

_FLOATS = ("float16", "float32", "float64")


def declared_classes(outputs: Sequence[TensorSpec], output: str | None = None) -> int | None:
    """Number of classes that the graph declares for the named output, else for its first [N, C] output.

    None where the graph leaves it open or has no such output; `class_output` then finds it by running.
    """
    for spec in outputs:
        if output in (None, spec.name) and spec.dtype in _FLOATS and len(spec.shape) >= 2:
            wide = [dim for dim in spec.shape[1:] if dim != 1]
            if len(wide) == 1:
                return wide[0]
    return None


def class_output(session: Session, dataset: Dataset, output: str | None = None) -> tuple[str, int]:
    """Find the output with one score per class by running the first samples.

    Args:
        session: The model.
        dataset: At least one sample.
        output: The output to use; None takes the first float output of shape [N, C], C >= 2, where
            further dimensions of 1 (as in [N, C, 1, 1]) do not count.

    Returns:
        The name of the output and C.

    Raises:
        InputError: there is no such output, or the named one is none.
    """
    wanted = [spec for spec in session.outputs if output in (None, spec.name)]
    for found in _score_outputs(session, dataset, wanted):
        return found
    shapes = ", ".join(f"'{spec.name}' {_shape(spec)}" for spec in session.outputs)
    if output is not None and not wanted:
        raise InputError(f"'{session.name}' has no output '{output}': its outputs are {shapes}", "unknown-name")
    what = "no output" if output is None else f"output '{output}', which is not"
    raise InputError(
        f"labels need class scores of shape [N, classes], but '{session.name}' has {what} of that kind "
        f"(outputs: {shapes}): pass --no-accuracy-check to go by the change of the outputs instead, or give "
        "the samples without labels",
        "wrong-outputs",
    )


def could_be_another(session: Session, dataset: Dataset) -> bool:
    """Whether several outputs have the form of class scores and name different classes, and no labels tell."""
    if dataset.labels is not None:
        return False
    names = [name for name, _ in _score_outputs(session, dataset, session.outputs)]
    first = next(dataset.batches(_LOOKED_AT))
    found = session.run_samples(first.feeds, names) if len(names) > 1 else {}
    said = {value.reshape(len(first), -1).argmax(axis=1).tobytes() for value in found.values()}
    return len(said) > 1


def _score_outputs(session: Session, dataset: Dataset, specs: Iterable[TensorSpec]) -> Iterator[tuple[str, int]]:
    first = next(dataset.batches(1))
    for spec in specs:
        if spec.dtype in _FLOATS and (scores := _first_scores(session, first.feeds, spec.name)) is not None:
            yield spec.name, scores.shape[1]


def as_scores(value: NDArray[Any], samples: int) -> NDArray[np.float64] | None:
    """Class scores, shape (samples, classes), from an output; None if it has another form."""
    if value.ndim < 2 or len(value) != samples or value.dtype.kind != "f":
        return None
    flat = value.reshape(samples, -1)
    return flat.astype(np.float64) if flat.shape[1] >= 2 and flat.shape[1] == max(value.shape[1:]) else None


def log_probabilities(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural log of the class probabilities, same shape (n, classes).

    Rows that are probabilities already (within [0, 1], summing to 1) are taken as they are; others go
    through a softmax.
    """
    if _are_probabilities(scores):
        return np.log(np.maximum(scores, 1e-12))
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def gives_probabilities(session: Session, dataset: Dataset, output: str) -> bool:
    """Whether an output holds probabilities of classes, as far as the first samples tell."""
    first = next(dataset.batches(_LOOKED_AT))
    scores = as_scores(session.run_samples(first.feeds, [output])[output], len(first))
    return scores is not None and _are_probabilities(scores)


def _are_probabilities(scores: NDArray[np.float64]) -> bool:
    return bool(scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, rtol=0, atol=1e-3))


def _first_scores(session: Session, feeds: dict[str, NDArray[Any]], name: str) -> NDArray[np.float64] | None:
    chunk = next(session.chunks(feeds))
    return as_scores(session.run(chunk.feeds, [name])[name], chunk.size)


def _shape(spec: TensorSpec) -> str:
    return "[" + ", ".join("?" if dim is None else str(dim) for dim in spec.shape) + "]"
