"""Choosing samples by chance, seeded and fair to every class: the hold-out split and the limit."""

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.dataset import Dataset
from onnxprune.errors import InputError

Rows = NDArray[np.int64]

JUDGE = 0.1
"""Share of the calibration samples that nothing is fitted to: they choose between what was fitted to the others."""

FEW_JUDGE, JUDGES = 0.2, 30
"""The share where that would be fewer samples than `JUDGES`, up to so many."""


def split(dataset: Dataset, holdout: float, seed: int) -> tuple[Dataset, Dataset]:
    """Part a data set in two, class by class.

    Each class gives its share, rounded, to the held-out part, and has at least one sample on each side
    if it has two or more; classes with one sample count as one class together.

    Args:
        dataset: Labelled, or not (then it is one class).
        holdout: Share of the second part, between 0 and 1.
        seed: The same seed gives the same parts.

    Returns:
        What is kept for calibration, and what is held out; both in the order of `dataset`.

    Raises:
        InputError: `holdout` is out of range or too few samples.
    """
    if not 0 < holdout < 1:
        raise InputError(f"--holdout is {holdout:g}: give a share between 0 and 1, such as 0.2 or 20%", "bad-value")
    held = _held(dataset, holdout, seed)
    if not held.any():
        raise InputError(
            f"{dataset.source} has one sample, so none can be held out: "
            "add samples, or pass --test with data of its own",
            "too-few-samples",
        )
    return dataset.subset(np.flatnonzero(~held)), dataset.subset(np.flatnonzero(held))


def fit_and_judge(dataset: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Part calibration samples into those that weights, moments and scores come from, and those that judge.

    A tenth judges, of few samples up to a fifth. Each class gives its share, as in `split`. Where there is one sample
    in all, nothing is left to judge by.
    """
    held = _held(dataset, max(JUDGE, min(FEW_JUDGE, JUDGES / max(1, len(dataset)))), seed)
    return dataset.subset(np.flatnonzero(~held)), dataset.subset(np.flatnonzero(held))


def _held(dataset: Dataset, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which samples are held out: a share of every class, one at least and never all."""
    classes = _classes(dataset.labels, len(dataset))
    single = [members for members in classes if members.size == 1]
    several = [members for members in classes if members.size > 1]
    pooled = [np.sort(np.concatenate(single))] if single else []
    generator = np.random.default_rng(seed)
    held = np.zeros(len(dataset), dtype=bool)
    for members in (*several, *pooled):
        count = min(max(1, round(share * members.size)), members.size - 1)
        held[generator.permutation(members)[:count]] = True
    return held


def take(dataset: Dataset, count: int, seed: int) -> Dataset:
    """At most `count` samples, as many of each class as possible, in the order of `dataset`.

    Raises:
        InputError: `count` is below 1.
    """
    return dataset.subset(choose(dataset.labels, len(dataset), count, seed))


def choose(labels: Rows | None, total: int, count: int, seed: int) -> Rows:
    """Sorted positions of at most `count` of `total` samples, spread evenly over the classes.

    Raises:
        InputError: `count` is below 1.
    """
    if count < 1:
        raise InputError(f"the limit of samples is {count}: give at least 1", "bad-value")
    if count >= total:
        return np.arange(total, dtype=np.int64)
    generator = np.random.default_rng(seed)
    order = np.empty(total, dtype=np.int64)
    turn = np.empty(total, dtype=np.int64)
    filled = 0
    for members in _classes(labels, total):
        order[filled : filled + members.size] = generator.permutation(members)
        turn[filled : filled + members.size] = np.arange(members.size)
        filled += members.size
    # Every class gives its first sample, then every class its second, and so on.
    return np.sort(order[np.argsort(turn, kind="stable")][:count])


def _classes(labels: Rows | None, total: int) -> list[Rows]:
    if labels is None:
        return [np.arange(total, dtype=np.int64)]
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]
