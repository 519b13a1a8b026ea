"""Whether a model's outputs tell its samples apart: where they do not, nothing can be judged by them.

A classifier that calls every sample the same, a detector on images without objects: whatever is cut, the outputs stay
much as they are, and everything looks free.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import Dataset, take
from onnxprune.errors import InputError
from onnxprune.evaluation.classes import as_scores
from onnxprune.runtime import Session

SAMPLES = 64
"""Samples that are looked at, at most."""

FEWEST = 4
"""Samples from which on something can be said."""

SPREAD = 1e-4
"""Variance over the samples, as a share of the mean square, up to which an output counts as constant."""

EMPTY = 0.02
"""How near to 0, or all to 1, a map of probabilities is that says nothing."""


def alike(session: Session, dataset: Dataset, seed: int) -> str | None:
    """Say in what way the outputs hardly vary over the samples; None where one of them does, or too few were seen.

    Raises:
        InputError: an output holds NaN or infinity.
    """
    some = take(dataset, SAMPLES, seed)
    found: dict[str, list[NDArray[Any]]] = {}
    for batch in some.batches(8):
        for chunk in session.chunks(batch.feeds):
            for name, value in session.run(chunk.feeds).items():
                _refuse_odd(name, value)
                rows = value.ndim > 0 and len(value) % chunk.size == 0
                real = chunk.real(value) if rows else value[None]
                found.setdefault(name, []).append(real.reshape(chunk.count if rows else 1, -1))
    if len(some) < FEWEST:
        return None
    reasons = [_dull(parts) for parts in found.values()]
    first = next(iter(found))
    return None if any(reason is None for reason in reasons) else f"output '{first}' {reasons[0]}"


def _refuse_odd(name: str, value: NDArray[Any]) -> None:
    """Refuse NaN and infinity; minus infinity is what a mask gives for what is left out."""
    if value.dtype.kind == "f" and not (value < np.inf).all():
        raise InputError(
            f"Output '{name}' of the original holds NaN or infinity on the samples, so that nothing can be compared "
            "with it: repair the model, or leave such samples out.",
            "not-runnable",
        )


def _dull(parts: list[NDArray[Any]]) -> str | None:
    """Say in what way an output hardly varies, None where it does."""
    if all(part.size == 0 for part in parts):
        return "is empty for all of them"
    if len({part.shape[1] for part in parts}) > 1 or parts[0].dtype.kind not in "fiub":
        return None
    values = np.concatenate(parts)
    if len(values) < FEWEST or (values.dtype.kind == "f" and not np.isfinite(values).all()):
        return None
    values = values.astype(np.float64)
    square = float(np.square(values).mean())
    if float(values.var(axis=0).mean()) <= SPREAD * square:
        return "is the same for all of them, or nearly"
    if values.min() >= 0 and values.max() <= 1 and (values.max() < EMPTY or values.min() > 1 - EMPTY):
        return f"lies between {values.min():.2g} and {values.max():.2g} for all of them"
    scores = as_scores(values, len(values)) if parts[0].dtype.kind == "f" else None
    if scores is not None and len(np.unique(scores.argmax(axis=1))) == 1:
        return f"says class {int(scores[0].argmax())} for all of them"
    return None
