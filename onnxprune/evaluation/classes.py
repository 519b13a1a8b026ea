"""Which output of a model holds the class scores, and reading scores from it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import Dataset
from onnxprune.errors import InputError
from onnxprune.runtime import Session
from onnxprune.values.interface import TensorSpec

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
    first = next(dataset.batches(1))
    wanted = [spec for spec in session.outputs if output in (None, spec.name)]
    for spec in wanted:
        if spec.dtype not in _FLOATS:
            continue
        if (scores := _first_scores(session, first.feeds, spec.name)) is not None:
            return spec.name, scores.shape[1]
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
    sums = scores.sum(axis=1)
    if scores.min() >= 0 and np.allclose(sums, 1, rtol=0, atol=1e-3):
        return np.log(np.maximum(scores, 1e-12))
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def _first_scores(session: Session, feeds: dict[str, NDArray[Any]], name: str) -> NDArray[np.float64] | None:
    chunk = next(session.chunks(feeds))
    return as_scores(session.run(chunk.feeds, [name])[name], chunk.size)


def _shape(spec: TensorSpec) -> str:
    return "[" + ", ".join("?" if dim is None else str(dim) for dim in spec.shape) + "]"
