"""Two data sets as one: samples of other classes beside those that were chosen."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.dataset import Dataset, Reader, Rows
from onnxprune.data.image_input import ImageInput, Pixels
from onnxprune.values.preprocess import Preprocess


@dataclass(frozen=True)
class JoinedReader:
    """The `Reader` of the samples of two readers of one model; those of `second` have `start` added to their row."""

    first: Reader
    second: Reader
    start: int

    @property
    def preprocess(self) -> Preprocess:
        """What is done to the pixels."""
        return self.first.preprocess

    @property
    def preprocessed(self) -> bool:
        """True when the samples are fed as they are, so that `preprocess` has no effect."""
        return self.first.preprocessed

    @property
    def one_by_one(self) -> bool:
        """True when samples cannot share a batch."""
        return self.first.one_by_one or self.second.one_by_one

    @property
    def target(self) -> ImageInput | None:
        """The input that takes the images; None where samples are arrays that are fed as they are."""
        return self.first.target

    def feeds(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The model's inputs for these samples."""
        parts = [reader.feeds(mine) for reader, mine in self._parts(rows)]
        order = self._order(rows)
        return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}

    def decoded(self, rows: Rows) -> Pixels | None:
        """The images of these samples, fitted and not scaled yet; None where there are none."""
        found = [reader.decoded(mine) for reader, mine in self._parts(rows)]
        there = [part for part in found if part is not None]
        return np.concatenate(there)[self._order(rows)] if len(there) == len(found) else None

    def with_preprocess(self, preprocess: Preprocess) -> "JoinedReader":
        """The same samples, otherwise preprocessed."""
        return replace(
            self, first=self.first.with_preprocess(preprocess), second=self.second.with_preprocess(preprocess)
        )

    def contents(self, rows: Rows) -> Iterator[bytes]:
        """What identifies the content of these samples, piece by piece."""
        for reader, mine in self._parts(rows):
            yield from reader.contents(mine)

    def _parts(self, rows: Rows) -> list[tuple[Reader, Rows]]:
        """Return the readers that have some of the rows, each with its own."""
        later = rows >= self.start
        parts = ((self.first, rows[~later]), (self.second, rows[later] - self.start))
        return [(reader, mine) for reader, mine in parts if len(mine)]

    def _order(self, rows: Rows) -> Rows:
        """Return where each row is when those of the first reader come first."""
        return np.argsort(np.argsort(rows >= self.start, kind="stable"), kind="stable")


def joined(first: Dataset, second: Dataset) -> Dataset:
    """Return the samples of both, those of `first` first, without labels, as classes may be numbered differently."""
    start = int(first.rows.max(initial=-1)) + 1
    return Dataset(
        reader=JoinedReader(first.reader, second.reader, start),
        rows=np.concatenate([first.rows, second.rows + start]),
        labels=None,
        class_names=(),
        skipped=(*first.skipped, *second.skipped),
        source=f"{first.source} and {second.source}",
    )
