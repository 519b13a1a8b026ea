"""Ridge regression: the change of a weight that best explains a change wanted of the output.

d ~ x W + b by group of a layer, with x [rows, groups, inputs] and d [rows, groups, outputs]; the ridge is a multiple of
the mean second moment of an input and draws the change towards nothing, so that weights stay where data say little.
"""

import copy
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from onnxprune.values.axes import FloatArray

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridges tried on held-out rows."""

Factor = tuple[FloatArray, bool]

SMALLEST_RIDGE = 1e-9
"""Added to every ridge, so that a system of dead inputs has a solution."""


@dataclass(frozen=True, eq=False)
class Change:
    """A change of weight [groups, inputs, outputs] and of bias [groups, outputs]."""

    weight: FloatArray
    bias: FloatArray


class System(Protocol):
    """Rows of a regression, in whatever form they are held."""

    wanted: float
    """Sum of |d|^2 over the rows."""

    def add(self, x: NDArray[np.float32], d: NDArray[np.float32]) -> None:
        """Take rows."""

    def solve(self, ridge: float, *, biased: bool) -> Change:
        """Return the change that minimises |d - x W - b|^2 + ridge * mean(x^2) * |W|^2."""

    def error(self, change: Change) -> float:
        """Return the sum of |d - x W - b|^2 over the rows."""


class Moments:
    """A system held as sums of products, for more rows than inputs. Memory does not grow with the rows."""

    def __init__(self, groups: int, inputs: int, outputs: int) -> None:
        self.count, self.wanted = 0, 0.0
        self.x, self.d = np.zeros((groups, inputs)), np.zeros((groups, outputs))
        self.xx, self.xd = np.zeros((groups, inputs, inputs)), np.zeros((groups, inputs, outputs))
        self._factors: dict[tuple[float, bool], Factor | None] = {}

    def add(self, x: NDArray[np.float32], d: NDArray[np.float32]) -> None:
        """Add rows."""
        self._factors.clear()
        self.count += len(x)
        self.wanted += float(np.square(d, dtype=np.float64).sum())
        self.x += x.sum(axis=0, dtype=np.float64)
        self.d += d.sum(axis=0, dtype=np.float64)
        transposed = x.transpose(1, 2, 0)
        self.xx += transposed @ x.transpose(1, 0, 2)
        self.xd += transposed @ d.transpose(1, 0, 2)

    def solve(self, ridge: float, *, biased: bool) -> Change:
        """Solve the normal equations of every group."""
        n = max(1, self.count)
        mean_x = self.x / n if biased else np.zeros_like(self.x)
        mean_d = self.d / n if biased else np.zeros_like(self.d)
        targets = self.xd - n * mean_x[:, :, None] * mean_d[:, None]
        if len(self.xx) > 1:  # many small systems at once: depthwise layers have one a channel
            weight = _solved(self._matrices(ridge, mean_x), targets)
        else:
            factor = self._factor(ridge, mean_x, biased=biased)
            weight = np.zeros_like(targets)
            if factor is not None:
                weight[0] = scipy.linalg.cho_solve(factor, targets[0], check_finite=False)
        return Change(weight, mean_d - np.einsum("gk,gkm->gm", mean_x, weight))

    def _matrices(self, ridge: float, mean: FloatArray) -> FloatArray:
        """Return the moments with the ridge, [groups, inputs, inputs]."""
        matrices = self.xx - max(1, self.count) * mean[:, :, None] * mean[:, None]
        levels = np.trace(self.xx, axis1=1, axis2=2) / self.xx.shape[1]
        places = np.arange(self.xx.shape[1])
        matrices[:, places, places] += (ridge + SMALLEST_RIDGE) * levels[:, None]
        return matrices

    def _factor(self, ridge: float, mean: FloatArray, *, biased: bool) -> Factor | None:
        """Return the Cholesky factor of the only group's moments, None where inputs are dead or rounding spoiled it."""
        key = ridge, biased
        if key not in self._factors:
            self._factors.clear()  # one ridge's factors are as large as the moments themselves
            self._factors[key] = _factored(self._matrices(ridge, mean)[0]) if self.xx.any() else None
        return self._factors[key]

    def aimed_at(self, x: NDArray[np.float32], d: NDArray[np.float32]) -> "Moments":
        """Return the system of the same rows, which `x` has all of, with other wanted changes."""
        other = copy.copy(self)
        other.wanted = float(np.square(d, dtype=np.float64).sum())
        other.d = d.sum(axis=0, dtype=np.float64)
        other.xd = (x.transpose(1, 2, 0) @ d.transpose(1, 0, 2)).astype(np.float64)
        return other

    def error(self, change: Change) -> float:
        """Expand the square into the sums."""
        w, b = change.weight, change.bias
        quadratic = float((w * (self.xx @ w)).sum()) + self.count * float(np.square(b).sum())
        cross = float((w * self.xd).sum()) + float((b * self.d).sum())
        mixed = float((np.einsum("gk,gkm->gm", self.x, w) * b).sum())
        return self.wanted - 2 * cross + quadratic + 2 * mixed


class RowSystem:
    """A system held row by row and solved by inner products of rows, for more inputs than rows. One group only."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.wanted = 0.0
        self._parts = [(np.zeros((0, inputs), dtype=np.float32), np.zeros((0, outputs), dtype=np.float32))]

    @property
    def x(self) -> NDArray[np.float32]:
        """The inputs, [rows, inputs]."""
        return self._joined()[0]

    @property
    def d(self) -> NDArray[np.float32]:
        """What is wanted, [rows, outputs]."""
        return self._joined()[1]

    def _joined(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if len(self._parts) > 1:
            self._parts = [tuple(np.concatenate(parts) for parts in zip(*self._parts, strict=True))]  # type: ignore[list-item]
        return self._parts[0]

    def add(self, x: NDArray[np.float32], d: NDArray[np.float32]) -> None:
        """Append rows."""
        self.wanted += float(np.square(d, dtype=np.float64).sum())
        self._parts.append((x[:, 0], d[:, 0]))

    def solve(self, ridge: float, *, biased: bool) -> Change:
        """Solve in the space of the rows: W = X' (X X' + ridge)^-1 D."""
        if not len(self.x):
            return Change(np.zeros((1, self.x.shape[1], self.d.shape[1])), np.zeros((1, self.d.shape[1])))
        mean_x = self.x.mean(axis=0, dtype=np.float64) if biased else np.zeros(self.x.shape[1])
        mean_d = self.d.mean(axis=0, dtype=np.float64) if biased else np.zeros(self.d.shape[1])
        centred = self.x - mean_x
        level = float(np.square(self.x, dtype=np.float64).sum()) / self.x.shape[1]
        products = centred @ centred.T
        products[np.diag_indices(len(products))] += (ridge + SMALLEST_RIDGE) * max(level, np.finfo(np.float64).tiny)
        factor = _factored(products)
        wanted = (self.d - mean_d).astype(np.float64)
        weight = centred.T @ (wanted * 0 if factor is None else scipy.linalg.cho_solve(factor, wanted))
        return Change(weight[None], (mean_d - mean_x @ weight)[None])

    def error(self, change: Change) -> float:
        """Sum the squares."""
        return float(np.square(self.d - self.x @ change.weight[0] - change.bias[0]).sum())


MOST_INPUTS = 4608
"""Widest system that is held as sums of products."""

MOST_ELEMENTS = 1 << 26
"""Most elements of a wider system, which is held row by row."""


def new_system(groups: int, inputs: int, outputs: int, rows: int) -> System | None:
    """Return an empty system for about `rows` rows, or None where it would take too much memory."""
    if inputs <= MOST_INPUTS and outputs <= MOST_INPUTS:
        return Moments(groups, inputs, outputs)
    small = groups == 1 and rows * (inputs + outputs) <= MOST_ELEMENTS and rows <= MOST_INPUTS
    return RowSystem(inputs, outputs) if small else None


def _solved(matrices: FloatArray, targets: FloatArray) -> FloatArray:
    """Solve systems of a group each; groups whose inputs are dead, or that rounding spoiled, have no change."""
    dead = ~(np.trace(matrices, axis1=1, axis2=2) > 0)
    matrices[dead] = np.eye(matrices.shape[1])
    with suppress(np.linalg.LinAlgError):
        found = np.linalg.solve(matrices, targets)
        found[dead | ~np.isfinite(found).all(axis=(1, 2))] = 0.0
        return np.asarray(found)
    return np.zeros_like(targets)


def _factored(matrix: FloatArray) -> Factor | None:
    """Return the Cholesky factor of a matrix, None where rounding left it indefinite: no held row will prefer that."""
    try:
        return cast(Factor, scipy.linalg.cho_factor(matrix, check_finite=False))
    except scipy.linalg.LinAlgError:
        return None


def best_ridge(fit: System, held: System, *, biased: bool) -> tuple[float | None, float]:
    """Choose the ridge by the held rows.

    Returns it, None where no ridge does better than nothing, and the share of the squared error left.
    """
    errors = [held.error(fit.solve(ridge, biased=biased)) for ridge in RIDGES]
    best = int(np.argmin(errors))
    return (RIDGES[best], errors[best] / held.wanted) if errors[best] < held.wanted else (None, 1.0)


def best_change(fit: System, held: System, *, biased: bool) -> tuple[Change | None, float]:
    """Choose the ridge by the held rows, which enter no solution.

    Returns the change, None where no ridge does better than nothing, and the share of the squared error left.
    """
    ridge, left = best_ridge(fit, held, biased=biased)
    return None if ridge is None else fit.solve(ridge, biased=biased), left
