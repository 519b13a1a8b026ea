"""How far a model's outputs moved from those of a reference, for any kind of model and without labels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import Dataset
from onnxprune.errors import InputError
from onnxprune.evaluation.classes import as_scores
from onnxprune.runtime import Session
from onnxprune.values.bounds import ratio_bound
from onnxprune.values.interface import Narrowed, narrowed
from onnxprune.values.progress import Track, silent

_NUMBERS = ("float16", "float32", "float64", "int", "uint", "bool")


@dataclass(frozen=True)
class Drift:
    """Change of every output over a data set.

    Attributes:
        relative_l2: By float output: |new - reference| / |reference|, Euclidean norms over all samples.
            Infinite where the new model gives NaN or infinity, or the reference only zeros.
        equal: By integer or boolean output (a class map, for instance): share of equal elements.
        agreement: By float output of shape [N, C]: share of samples whose highest score is at the same class.
        skipped: By output that cannot be compared: the reason.
        parts: By output, of every sample (of every call, where an output is not made of rows of samples): squared
            change and squared reference, or unequal elements and all, shape (n, 2).
    """

    relative_l2: Mapping[str, float]
    equal: Mapping[str, float]
    agreement: Mapping[str, float]
    skipped: Mapping[str, str]
    parts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def compared(self) -> bool:
        """Whether any output could be compared."""
        return bool(self.relative_l2 or self.equal)

    @property
    def worst(self) -> float:
        """The largest change of an output: relative norm, or share of elements that are not equal."""
        return max((*self.relative_l2.values(), *(1 - share for share in self.equal.values())), default=0.0)

    def most(self, confidence: float) -> float:
        """Return the most that the output which changes most has changed, at a one-sided confidence.

        Seen over the samples; each output by itself at that confidence.
        """
        bounds = {name: ratio_bound(parts[:, 0], parts[:, 1], confidence) for name, parts in self.parts.items()}
        return max((math.sqrt(b) if name in self.relative_l2 else b for name, b in bounds.items()), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types; an infinite change is null."""
        changes = {name: v if math.isfinite(v) else None for name, v in self.relative_l2.items()}
        shares = {"equal": dict(self.equal), "agreement": dict(self.agreement)}
        return {"relative_l2": changes, **shares, "skipped": dict(self.skipped)}


@dataclass
class _DriftSums:
    """Running totals of one output."""

    change: float = 0.0
    norm: float = 0.0
    equal: int = 0
    elements: int = 0
    agreed: int = 0
    samples: int = 0
    fault: str = ""
    parts: list[NDArray[np.float64]] = field(default_factory=list)

    def note(self, changed: NDArray[Any], whole: NDArray[Any], samples: int) -> None:
        """Keep what changed and of how much, by sample where an output of a call is made of rows of samples."""
        rows = samples if changed.ndim and samples and len(changed) % samples == 0 else 1
        sums = [part.reshape(rows, -1).sum(axis=1, dtype=np.float64) for part in (changed, whole)]
        self.parts.append(np.stack(sums, axis=1))


@dataclass
class _Totals:
    sums: dict[str, _DriftSums] = field(default_factory=dict)

    def add(
        self, name: str, old: NDArray[Any], new: NDArray[Any], size: int, count: int, classes: Sequence[int]
    ) -> None:
        """Account for one call on `size` samples, of which the first `count` are real.

        Where the new model has been cut to some `classes`, the reference's scores of the others are left out.
        """
        wide = [axis for axis in range(1, old.ndim) if old.shape[axis] != 1]
        if len(wide) == 1 and new.ndim == old.ndim and new.shape[wide[0]] == len(classes) > 0:
            old = old if old.shape == new.shape else old.take(classes, wide[0])
        sums = self.sums.setdefault(name, _DriftSums())
        if old.shape != new.shape:
            sums.fault = f"its shape differs between the models ({list(old.shape)} and {list(new.shape)})"
            return
        if old.ndim and len(old) % size == 0:
            real = len(old) // size * count
            old, new = old[:real], new[:real]
        if old.dtype.kind != "f":
            sums.equal += int((old == new).sum())
            sums.elements += old.size
            sums.note(old != new, np.ones(old.shape), count)
            return
        if not np.isfinite(old).all():
            sums.fault = "the reference gives NaN or infinity"
            return
        reference = old.astype(np.float64)
        change = new.astype(np.float64) - reference
        total = float(np.square(change).sum())
        sums.change += total if math.isfinite(total) else math.inf
        sums.norm += float(np.square(reference).sum())
        sums.note(np.square(change), np.square(reference), count)
        before, after = as_scores(old, count), as_scores(new, count)
        if before is None or after is None:
            return
        sums.agreed += int((before.argmax(axis=1) == after.argmax(axis=1)).sum())
        sums.samples += count


def drift(
    reference: Session,
    session: Session,
    dataset: Dataset,
    *,
    batch_size: int = 64,
    track: Track = silent,
) -> Drift:
    """Run both models on the same samples and compare every output that both have.

    Calls are compared one by one, so outputs need not be made of rows of samples. An output whose shape
    differs between the models (a number of detections, for instance), or that holds no numbers, is skipped with
    its reason. Nothing but running sums is kept.

    Raises:
        InputError: a model cannot run on the samples, or the models share no output of numbers.
    """
    shared = {spec.name for spec in session.outputs}
    names: list[str] = []
    skipped: dict[str, str] = {}
    for spec in reference.outputs:
        if spec.name not in shared:
            skipped[spec.name] = "the new model does not have it"
        elif not spec.dtype.startswith(_NUMBERS):
            skipped[spec.name] = f"it is of type {spec.dtype}, which cannot be compared"
        else:
            names.append(spec.name)
    if not names:
        reasons = "; ".join(f"'{name}': {reason}" for name, reason in skipped.items())
        raise InputError(
            f"'{reference.name}' and '{session.name}' share no output to compare ({reasons}): "
            "compare models of the same kind",
            "wrong-outputs",
        )
    totals = _Totals()
    for batch in track(dataset.batches(batch_size), total=len(dataset), what="comparing outputs"):
        for chunk in reference.chunks(batch.feeds):
            one_call = session.chunk_size in (None, chunk.size)
            before = reference.run(chunk.feeds, names)
            after = session.run(chunk.feeds, names) if one_call else session.run_samples(chunk.feeds, names)
            for name in names:
                old = _left(before[name], reference.interface.get(name, ()), session.interface.get(name, ()))
                totals.add(name, old, after[name], chunk.size, chunk.count, dataset.outputs or ())
    skipped |= {name: sums.fault for name, sums in totals.sums.items() if sums.fault}
    good = {name: sums for name, sums in totals.sums.items() if not sums.fault}
    return Drift(
        relative_l2={name: _ratio(sums) for name, sums in good.items() if not sums.elements},
        equal={name: sums.equal / sums.elements for name, sums in good.items() if sums.elements},
        agreement={name: sums.agreed / sums.samples for name, sums in good.items() if sums.samples == len(dataset)},
        skipped=skipped,
        parts={name: np.concatenate(sums.parts) for name, sums in good.items()},
    )


def _left(old: NDArray[Any], before: Sequence[Narrowed], after: Sequence[Narrowed]) -> NDArray[Any]:
    """Return what of an output of the reference the new model still has."""
    had = {each.axis: each for each in before}
    for each in after:
        if each.axis in had:
            old = old.compress(np.isin(had[each.axis].kept, each.kept), each.axis)
    return narrowed(old, [each for each in after if each.axis not in had])


def _ratio(sums: _DriftSums) -> float:
    if sums.norm > 0:
        return math.sqrt(sums.change / sums.norm)
    return math.inf if sums.change > 0 else 0.0
