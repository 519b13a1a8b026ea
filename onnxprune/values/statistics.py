"""What calibration gathers per layer and class, as plain arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxprune.values.axes import Axis, BoolArray, FloatArray, IntArray
from onnxprune.values.brief import brief

LayerKind = Literal["map", "vector"]

WEIGHTS = "weights"
"""Under this name a method asks for the weights of the layers, which need no data."""

BN_SCALE = "bn scale"
"""Under this name a method asks for the scales of the normalisations behind the layers, which need no data."""

STORED = frozenset({WEIGHTS, BN_SCALE})
"""What is read from the model alone, without any data."""

MOMENTS = "input moments"
"""Under this name a method asks for the second moments of what the layers behind the groups read."""

COARSE_MOMENTS = "coarse input moments"
"""The same from few samples, wide layers by channel and not by tap: enough for widths, see `selection.loss`."""

COVARIANCES = "covariances"
"""Under this name a method asks how the channels of a layer vary together within the classes, at sampled positions."""

VECTOR_COVARIANCES = "vector covariances"
"""The same of fully connected layers alone, as `COVARIANCES` is of feature maps alone."""

MEAN_COVARIANCES = "mean covariances"
"""Those of spatial means, of layers of both kinds."""

GRADIENT_WINS = "class wins by gradient"
"""Under this name a method asks how many classes' losses a channel moves, which takes labels and torch."""

TAYLOR = "taylor"
"""Under this name a method asks what the loss would be without a channel, to first order; it takes the same."""

FISHER = "fisher information"
"""Under this name a method asks what errors of the layers behind the groups do to the class probabilities: torch alone.
"""

GRADIENTS = frozenset({GRADIENT_WINS, TAYLOR})
"""What takes a gradient and labels."""


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """Statistics of one layer's output as the next layers see it.

    Attributes:
        layer: name of the tensor that the layer produces.
        tensor: the tensor that was measured: the layer's output after its own normalisation and activation.
        kind: `map` for feature maps with more than one position, `vector` for fully connected outputs.
        positions: how many spatial positions (or tokens) a map has.
        values: statistic name -> array; [classes, channels] unless the statistic says otherwise.
        clipped: share of elements outside the histogram's range.
        weight_rows: the weights that make each channel, [channels, weights of a channel], in the type that they are
            stored in; empty if not asked for or not known.
    """

    layer: str
    tensor: str
    kind: LayerKind
    positions: int
    values: Mapping[str, FloatArray]
    clipped: float = 0.0
    weight_rows: NDArray[Any] = field(default_factory=lambda: np.zeros((0, 0)))


COMPARABLE = 0.35
"""Power of a target's mean square that amplitudes of errors are divided by. At 1/2 all layers would count alike, at 0
the loud ones alone. Tried on three nets at half the multiply-adds: from 1/4 to 0.35 costs the small ones nothing and
gives EfficientNet-Lite0 two points; 1/2 takes two points from resnet20.
"""

DAMPING = 1e-3
"""Ridge on the moments of a layer's inputs, as a multiple of their mean variance."""


@dataclass(frozen=True, eq=False)
class Consumer:
    """What a layer that reads prunable channels does with them.

    Attributes:
        layer: name of the tensor that it makes.
        axis: the axis of its weight that the channels lie on.
        matrix: what its inputs add to the tensor in which its error shows, [groups of the layer, inputs, outputs];
            inputs are channels of a group times taps. Where the taps are not told apart they are among the outputs.
        moments: second moments of its inputs over sampled positions, [groups, inputs, inputs]; about their means, or
            behind a normalisation that loses channels about its shift.
        channels: channels of one group, each with `inputs / channels` taps.
        scale: mean square of the tensor in which its error shows, about its mean.
        shrinkage: share of the covariances that is chance, by group of the layer, see `calibration.shrinkage`.
        fisher: Fisher information of the class probabilities in the tensor in which the error shows, summed over the
            positions of a sample, [groups, outputs, outputs]; None: not asked for.
    """

    layer: str
    axis: Axis
    matrix: FloatArray
    moments: FloatArray
    channels: int
    scale: float
    shrinkage: FloatArray = field(default_factory=lambda: np.zeros(1))
    fisher: FloatArray | None = None

    def inputs(self, positions: IntArray) -> IntArray:
        """Return the inputs that belong to channels: [channels, positions x taps] for `positions` of the axis."""
        taps = self.moments.shape[1] // self.channels
        return np.asarray((positions[:, :, None] * taps + np.arange(taps)).reshape(len(positions), -1))

    @property
    def relative(self) -> FloatArray:
        """The matrix in units in which its errors compare with other layers', see `COMPARABLE`."""
        return np.asarray(self.matrix / self.scale**COMPARABLE)

    @property
    def damped(self) -> FloatArray:
        """The moments as they do best on other samples, with a small ridge, so that there always is an inverse."""
        places = np.arange(self.moments.shape[1])
        variances = self.moments[:, places, places]
        found = self.moments * (1 - self.shrinkage[:, None, None])
        ridge = DAMPING * np.maximum(variances.mean(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        found[:, places, places] = variances + ridge
        return found


@brief
@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of all layers over one calibration set; `samples` [classes] says how many images each class had."""

    layers: Mapping[str, LayerStatistics]
    samples: IntArray
    class_names: tuple[str, ...] = ()
    labelled: bool = True
    consumers: tuple[Consumer, ...] = ()

    @property
    def weighted(self) -> Mapping[str, LayerStatistics]:
        """The layers whose weights are known."""
        return {name: layer for name, layer in self.layers.items() if layer.weight_rows.size}

    @property
    def present(self) -> IntArray:
        """The classes that have images."""
        return np.flatnonzero(self.samples)


@brief
@dataclass(frozen=True, eq=False)
class Scores:
    """Importance of every channel of every group: higher = keep.

    Attributes:
        values: group name -> [channels]. Under a threshold rule the scale is relative: below 1 is below the threshold.
        ties: group name -> [channels], what decides between equal values (higher = keep); then the lower index wins.
        notes: what the user should know of how the scores came about.
        curves: group name -> [channels + 1], the value of keeping the d best channels, rising with d; for methods that
            choose widths by gain per cost.
        choose: the keep mask of a group at a given width, where that is not the best by `values`.
    """

    values: Mapping[str, FloatArray]
    ties: Mapping[str, FloatArray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    curves: Mapping[str, FloatArray] = field(default_factory=dict)
    choose: Callable[[str, int], BoolArray] | None = None
