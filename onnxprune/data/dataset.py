"""A set of samples ready to be fed to a model, in batches, and what the readers of each format provide."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxprune.data.image_input import ImageInput, Pixels
from onnxprune.errors import InputError
from onnxprune.values.brief import brief
from onnxprune.values.preprocess import Preprocess

Rows = NDArray[np.int64]


class Reader(Protocol):
    """Where the samples come from: one implementation per format."""

    @property
    def preprocess(self) -> Preprocess:
        """What is done to the pixels."""
        ...

    @property
    def preprocessed(self) -> bool:
        """True when the samples are fed as they are, so that `preprocess` has no effect."""
        ...

    @property
    def one_by_one(self) -> bool:
        """True when each sample is the feeds of one whole call and samples cannot share a batch."""
        ...

    @property
    def target(self) -> ImageInput | None:
        """The input that takes the images; None where samples are arrays that are fed as they are."""
        ...

    def feeds(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The model's inputs for these samples (exactly one if `one_by_one`)."""
        ...

    def decoded(self, rows: Rows) -> Pixels | None:
        """The images of these samples, fitted and not scaled yet; None where there are none."""
        ...

    def with_preprocess(self, preprocess: Preprocess) -> "Reader":
        """The same samples, otherwise preprocessed."""
        ...

    def contents(self, rows: Rows) -> Iterator[bytes]:
        """What identifies the content of these samples, piece by piece."""
        ...


@dataclass(frozen=True)
class Batch:
    """Some samples of a data set.

    Attributes:
        feeds: The model's inputs by name.
        labels: Class of each sample, shape (n,), or None.
        indices: Position of each sample in the data set, shape (n,).
    """

    feeds: dict[str, NDArray[Any]]
    labels: Rows | None
    indices: Rows

    def __len__(self) -> int:
        return len(self.indices)


@brief
@dataclass(frozen=True)
class Dataset:
    """Samples in a fixed order, possibly labelled; made by `open_data`.

    Attributes:
        reader: Where the samples come from.
        rows: Which of the reader's samples belong to this set, shape (n,).
        labels: Class of each sample as the index of the model's output, shape (n,), or None.
        class_names: Name of each class by index; empty when unknown.
        skipped: Files that could not be decoded and are not part of the set.
        source: A short description for people.
        outputs: Which output of the model stands for each class, where these are only some of the model's classes;
            None: class i is output i.
        converted: How many images had their channels converted when the set was opened, by what was done.
    """

    reader: Reader
    rows: Rows
    labels: Rows | None
    class_names: tuple[str, ...]
    skipped: tuple[str, ...]
    source: str
    outputs: tuple[int, ...] | None = None
    converted: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def preprocess(self) -> Preprocess:
        """What is done to the pixels."""
        return self.reader.preprocess

    @property
    def preprocessed(self) -> bool:
        """True when the samples are fed as they are, so that `preprocess` has no effect."""
        return self.reader.preprocessed

    def subset(self, indices: ArrayLike) -> "Dataset":
        """The samples at these positions, in this order (repeats allowed)."""
        chosen = np.asarray(indices, dtype=np.int64)
        labels = None if self.labels is None else self.labels[chosen]
        return replace(self, rows=self.rows[chosen], labels=labels)

    def with_preprocess(self, preprocess: Preprocess) -> "Dataset":
        """The same samples, otherwise preprocessed.

        Raises:
            InputError: the images do not fit the model this way.
        """
        return replace(self, reader=self.reader.with_preprocess(preprocess))

    def batches(self, size: int) -> Iterator[Batch]:
        """Every sample once, in order, `size` at a time (the last batch may be smaller).

        Samples that are the feeds of one whole call come one at a time whatever `size` is.

        Raises:
            InputError: `size` is below 1, or a file cannot be read any more.
        """
        if size < 1:
            raise InputError(f"the batch size is {size}: give at least 1", "bad-value")
        step = 1 if self.reader.one_by_one else size
        for start in range(0, len(self), step):
            indices = np.arange(start, min(start + step, len(self)), dtype=np.int64)
            labels = None if self.labels is None else self.labels[indices]
            yield Batch(self.reader.feeds(self.rows[indices]), labels, indices)

    def digest(self) -> str:
        """Sha256 of all the model is fed: contents, relative names, labels and preprocessing.

        The same on every machine and for every place of the data; the order of the samples counts.
        """
        total = hashlib.sha256()
        preprocess = None if self.preprocessed else self.preprocess.to_json()
        labels = None if self.labels is None else self.labels.tolist()
        head = {"preprocess": preprocess, "labels": labels, "samples": len(self)}
        total.update(json.dumps(head, sort_keys=True).encode())
        for piece in self.reader.contents(self.rows):
            total.update(hashlib.sha256(piece).digest())
        return total.hexdigest()
