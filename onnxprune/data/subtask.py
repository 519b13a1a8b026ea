"""Choosing some of the classes: a subtask, whose classes are numbered anew and remember the model's outputs."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.dataset import Dataset
from onnxprune.errors import InputError

FEW = 12
"""Class names that a message lists."""


def choose_classes(
    wanted: Sequence[str],
    names: Sequence[str],
    labels: NDArray[np.int64] | None,
    count: int | None,
    source: str,
) -> tuple[int, ...]:
    """Return the numbers of the classes called `wanted`, in the order of the model's outputs.

    A number stands for a class where no class is called so and none of the names is a number.

    Args:
        wanted: Names or numbers, two at least.
        names: Name of each class by number; empty when unknown.
        labels: Class of each sample, shape (n,), or None.
        count: Number of the model's classes, where it is known.
        source: What messages call the data.

    Raises:
        InputError: no labels, fewer than two classes, an unknown class, one named twice, or one without samples.
    """
    numbers = numbers_of(wanted, names, labels, count, source, "--classes")
    if len(numbers) < 2:
        raise InputError(
            f"--classes names only {', '.join(wanted)!r}: there is nothing to tell apart, so name at least two",
            "bad-value",
        )
    return numbers


def numbers_of(
    wanted: Sequence[str],
    names: Sequence[str],
    labels: NDArray[np.int64] | None,
    count: int | None,
    source: str,
    option: str,
    outputs: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Return the numbers of the classes called `wanted` by an option, as `choose_classes`, of any number of them.

    Where classes are chosen already, `outputs` are the model's numbers of these, which are what numbers stand for.

    Raises:
        InputError: no labels, an unknown class, one named twice, or one without samples.
    """
    if labels is None:
        raise InputError(
            f"{option} needs labelled data, which {source} is not: give one sub-folder per class, or 'y' in the .npz",
            "no-labels",
        )
    known = len(names) or count or int(labels.max()) + 1
    spoken = {str(number): place for place, number in enumerate(range(known) if outputs is None else outputs)}
    numbers = [_number(name, names, spoken, source, option) for name in wanted]
    for place, name in enumerate(wanted):
        if numbers[place] in numbers[:place]:
            raise InputError(f"{option} names {name!r} twice: name each class once", "bad-value")
    for name, number in zip(wanted, numbers, strict=True):
        if not (labels == number).any():
            raise InputError(
                f"{source} has no sample of class {name!r}: add some, or leave it out of {option}", "too-few-samples"
            )
    return tuple(sorted(numbers))


def of_classes(dataset: Dataset, numbers: Sequence[int]) -> Dataset:
    """Return the samples of the classes `numbers` (of a labelled set), as classes 0, 1, ... in this order."""
    if dataset.labels is None:
        raise ValueError("samples without labels have no classes to choose from")
    place = {number: index for index, number in enumerate(numbers)}
    rows = np.flatnonzero(np.isin(dataset.labels, list(numbers)))
    labels = np.array([place[int(label)] for label in dataset.labels[rows]], dtype=np.int64)
    names = tuple(dataset.class_names[n] if n < len(dataset.class_names) else str(n) for n in numbers)
    return Dataset(
        reader=dataset.reader,
        rows=dataset.rows[rows],
        labels=labels,
        class_names=names,
        skipped=dataset.skipped,
        source=dataset.source,
        converted=dataset.converted,
        outputs=tuple(numbers if dataset.outputs is None else (dataset.outputs[n] for n in numbers)),
    )


def _number(name: str, names: Sequence[str], spoken: Mapping[str, int], source: str, option: str) -> int:
    """Return the number of the class of a name, or of what stands for one where no class is called by a number."""
    if name in names:
        return names.index(name)
    number = str(int(name)) if name.isdecimal() else name
    if number in spoken and not any(other.isdecimal() for other in names):
        return spoken[number]
    close = get_close_matches(name, names, n=1)
    listed = ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
    hint = (
        f"did you mean {close[0]!r}?" if close else f"its classes are {listed or f'the numbers 0 to {len(spoken) - 1}'}"
    )
    raise InputError(f"{source} has no class {name!r} for {option}: {hint}", "unknown-name")
